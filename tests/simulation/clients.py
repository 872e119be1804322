"""Who sends transactions while things go wrong: transfers, and validators' operators who change the set."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from node.modules.accounts import Transfer
from node.modules.bonds import Bond
from node.modules.governance import AdmitValidator, CastBallot, Propose, RemoveValidator, SetPower
from node.modules.validators import possession_digest
from node.primitives.codec import encode
from node.primitives.crypto import PrivateKey
from node.types.validator import NodeEntry
from tests.factories import Chain, make_key, make_transaction
from tests.simulation.invariants import Invariants
from tests.simulation.world import World


def operator_key(index: int) -> PrivateKey:
    """The account that answers for the validator of an index."""
    return make_key(f"operator {index}")


@dataclass
class Clients:
    """Everybody who signs transactions."""

    chain: Chain
    world: World
    invariants: Invariants
    random: random.Random
    taken: dict[bytes, bytes] = field(default_factory=dict)
    """Transactions some node took, by id: each must become final, once."""
    _nonces: dict[bytes, int] = field(default_factory=dict)

    def transfer(self) -> None:
        """One user pays another."""
        sender, recipient = self.random.choice(self.chain.users), self.random.choice(self.chain.users)
        self._send(sender, Transfer(recipient=recipient.address, amount_units=self.random.randint(1, 1000)))

    def resend(self) -> None:
        """What is not final is sent again, as a client does that got no answer."""
        for transaction_id, data in self.taken.items():
            if not self.invariants.is_final(transaction_id):
                self._submit(data)

    def join(self, index: int, power: int) -> None:
        """An operator locks the bond and the validators admit it."""
        operator, key = operator_key(index), make_key(f"consensus {index}")
        self._send(operator, Bond(amount_units=self.chain.genesis.parameters.validator_bond_units))
        action = AdmitValidator(
            operator=operator.address,
            consensus_key=key.public_key,
            possession=key.sign(possession_digest(self.chain.genesis_hash, operator.address)),
            power=power,
            node=NodeEntry(name=f"node {index}", certificate=f"certificate {index}".encode(), endpoint=""),
        )
        self._decide(action)

    def leave(self, index: int) -> None:
        """The validators remove one of them."""
        self._decide(RemoveValidator(operator=operator_key(index).address))

    def set_power(self, index: int, power: int) -> None:
        """The validators change the power of one of them."""
        self._decide(SetPower(operator=operator_key(index).address, power=power))

    def _decide(self, action: AdmitValidator | RemoveValidator | SetPower) -> None:
        operators = self.chain.operators
        proposal = self._send(operators[0], Propose(action=action))
        if proposal is not None:
            for operator in operators[1:]:
                self._send(operator, CastBallot(proposal=proposal, is_yes=True))

    def _send(self, key: PrivateKey, payload: object) -> bytes | None:
        nonce = self._nonces.get(key.address, 0)
        transaction = make_transaction(self.chain, key, payload, nonce=nonce)
        data = encode(transaction)
        if not self._submit(data):
            return None
        self._nonces[key.address] = nonce + 1
        transaction_id = transaction.id(self.chain.genesis_hash)
        self.taken[transaction_id] = data
        return transaction_id

    def _submit(self, data: bytes) -> bool:
        up = [node.name for node in self.world.honest() if node.replica is not None]
        return bool(up) and self.world.submit(self.random.choice(up), data)
