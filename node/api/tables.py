"""The ledger's tables by name, as `query` offers them."""

from __future__ import annotations

from typing import Any

from node.modules.accounts import ACCOUNTS
from node.modules.attributions import QUESTIONS
from node.modules.bonds import UNBONDING
from node.modules.contents import CONTENTS
from node.modules.datanets import CONTRIBUTIONS, DATANETS, PARTIES, RECORDS, RECORDS_AT
from node.modules.engines import ENGINES
from node.modules.equivocation import PUNISHED
from node.modules.escrow import ESCROWS
from node.modules.governance import PROPOSALS
from node.modules.holdouts import EPOCH_SEEDS, HOLDOUTS, REVEALED
from node.modules.models import GATES, MODELS
from node.modules.registers import REGISTERS
from node.modules.rewards import MINT_EPOCHS, MINT_SHARES, POOL_CLAIMS, VALIDATOR_POOLS
from node.modules.supply import SUPPLY
from node.modules.validators import GOVERNING, PAST_SETS, REGISTRY, UPCOMING
from node.state.table import Table

TABLES: dict[str, Table[Any]] = {
    table.prefix.name.lower(): table
    for table in (
        ACCOUNTS,
        GOVERNING.table,
        REGISTRY.table,
        UPCOMING.table,
        ENGINES.table,
        PROPOSALS,
        UNBONDING,
        PUNISHED,
        PAST_SETS,
        EPOCH_SEEDS,
        DATANETS,
        RECORDS,
        RECORDS_AT,
        CONTRIBUTIONS,
        PARTIES,
        HOLDOUTS,
        CONTENTS,
        REVEALED,
        MODELS,
        GATES,
        QUESTIONS,
        ESCROWS,
        SUPPLY.table,
        MINT_EPOCHS,
        MINT_SHARES,
        VALIDATOR_POOLS,
        POOL_CLAIMS,
        REGISTERS,
    )
}
"""Names are those of `node.storage.schema.Prefix`."""
