"""Makes a chain in one process, as fast as blocks execute: real blocks, real certificates, a real store.

Signs with the consensus keys of all validators, which only a test network's maker has. What comes out is what the
validators would have made with these transactions; any node accepts it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from consensus.certificate import make_certificate
from consensus.leader import leader_cycle
from consensus.types import Certificate, Statement, VoteKind
from node.beginning import open_ledger
from node.execution.transaction import Candidate, read_transaction
from node.modules.context import Resources
from node.modules.validators import GOVERNING
from node.primitives.crypto import PrivateKey
from node.proposal import BlockTree
from node.state.store import StateStore
from node.storage.blocks import BlockStore
from node.storage.kv import KeyValueStore
from node.types.block import Header
from node.types.genesis import Genesis
from node.types.signed import vote_digest

BLOCK_MS = 300
"""How far apart the generated blocks say they are."""


class Generator:
    """A chain that grows by final blocks."""

    def __init__(
        self,
        genesis: Genesis,
        consensus_keys: Sequence[PrivateKey],
        store: KeyValueStore,
        resources: Resources,
        *,
        sign_every: int = 1,
    ) -> None:
        """Finalises directly every `sign_every`th block, and each that ends an epoch."""
        self.genesis = genesis
        self.store = store
        self.state: StateStore = open_ledger(store, genesis)
        self.blocks = BlockStore(store)
        self._genesis_hash = genesis.hash()
        self._keys = {key.address: key for key in consensus_keys}
        self._sign_every = sign_every
        self._known: dict[bytes, Candidate] = {}
        self._tree = BlockTree(self.state, self.blocks, resources, self._known.get)
        self._view = 0
        self._epoch = 0
        self._leaders: Sequence[bytes] = ()
        self._parent_id = self._tree.tip_id

    @property
    def tip(self) -> Header:
        """The last final block."""
        return self._tree.tip

    def add_block(self, transactions: Sequence[bytes] = (), on_rejected: Callable[[str], None] | None = None) -> None:
        """One more block with some transactions; final, or with the next one that is."""
        self._known.clear()
        candidates = [read_transaction(data, self._genesis_hash) for data in transactions]
        self._known.update(zip(transactions, candidates, strict=True))
        parent = self._tree.parent(self._parent_id)
        governing = parent.governing
        if governing.epoch != self._epoch:
            self._epoch, self._view = governing.epoch, 0
            self._leaders = leader_cycle(governing.validators.for_consensus())
        parent_view, self._view = self._view, self._view + 1
        executed = self._tree.build(
            self._parent_id,
            view=self._view,
            parent_view=parent_view,
            now_ms=parent.header.time_ms + BLOCK_MS,
            proposer=self._leaders[(self._view - 1) % len(self._leaders)],
            select=lambda _parent: candidates,
            on_rejected=lambda _candidate, error: None if on_rejected is None else on_rejected(str(error)),
        )
        self._parent_id = executed.block_id
        if executed.is_epoch_end or executed.block.header.height % self._sign_every == 0:
            self._tree.finalize(executed.block_id, self._certificate(executed.block_id))

    def _certificate(self, block_id: bytes) -> Certificate:
        """A finalization signed by as many validators as a quorum needs."""
        statement = Statement(kind=VoteKind.FINALIZE, epoch=self._epoch, view=self._view, block_id=block_id)
        digest = vote_digest(self._genesis_hash, statement)
        validators = GOVERNING.get(self.state).validators.validators
        needed, power = [], 0
        for validator in validators:
            if validator.id in self._keys and 3 * power <= 2 * sum(each.power for each in validators):
                needed.append(validator.id)
                power += validator.power
        return make_certificate(statement, {each: self._keys[each].sign(digest) for each in needed})
