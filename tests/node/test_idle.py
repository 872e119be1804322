"""An idle chain: a transaction makes the block that carries it, and no other one before its time."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.payloads import Transfer
from node.primitives.codec import encode
from node.storage.wal import Born, FileLog
from node.types.parameters import Parameters
from tests.factories import make_chain, make_transaction
from tests.node.mesh import Mesh

INTERVAL_MS = 5_000


@pytest.mark.parametrize("asked", range(4))
def test_one_transaction_makes_one_block_whoever_is_asked(tmp_path: Path, asked: int) -> None:
    chain = make_chain(parameters=Parameters(delta_ms=500, empty_block_interval_ms=INTERVAL_MS))
    mesh = Mesh(chain, tmp_path)
    for index in range(4):
        member = mesh.add(key=chain.consensus_keys[index])
        log = FileLog(member.directory / "log", chain.genesis_hash)
        log.append([Born(genesis_hash=chain.genesis_hash, validator=chain.consensus_keys[index].address)])
        log.close()
    for member in mesh.members:
        member.start()
    try:
        assert mesh.run_until(lambda: min(each.height for each in mesh.members) >= 1)
        begun_ms, height = mesh.now_ms, max(each.height for each in mesh.members)
        replica = mesh.members[asked].replica
        assert replica is not None
        transfer = Transfer(recipient=chain.users[1].address, amount_units=1)
        refused: list[object] = []
        replica.submit(encode(make_transaction(chain, chain.users[0], transfer, nonce=0)), refused.append)
        replica.flush()
        assert mesh.run_until(lambda: min(each.height for each in mesh.members) >= height + 1, 1_000)
        assert refused == [None]
        mesh.run_until(lambda: False, INTERVAL_MS - (mesh.now_ms - begun_ms) - 200)
        assert {each.height for each in mesh.members} == {height + 1}
    finally:
        mesh.close()
