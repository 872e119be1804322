"""Room on the disk: below the reserve a node takes nothing in and signs nothing, above twice of it it goes on."""

from __future__ import annotations

import pytest

from node.errors import RequestReason, RequestRejected, TransactionReason, TransactionRejected
from node.modules.accounts import Transfer
from node.p2p.messages import StatusRequest, SyncRequest
from node.primitives.codec import encode
from node.replica import STATUS_MS
from node.room import Room
from tests.factories import make_transaction
from tests.node.test_engine import Stage

RESERVE_BYTES = 1_000


def test_node_pauses_below_the_reserve_and_goes_on_at_twice_of_it() -> None:
    free = iter([5_000, 1_000, 999, 1_000, 1_999, 2_000, 1_500, 0])
    room = Room(lambda: next(free), RESERVE_BYTES)
    seen = []
    for _ in range(8):
        is_changed = room.look()
        seen.append((is_changed, room.lack is not None))
    assert seen == [
        (False, False), (False, False), (True, True), (False, True), (False, True), (True, False), (False, False),
        (True, True),
    ]  # fmt: skip
    assert room.lack == (
        "the disk has 0 bytes left, below the reserve of 1000: make room; the node goes on once 2000 bytes are free"
    )


def test_paused_node_takes_nothing_in_signs_nothing_answers_from_its_disk_and_catches_up() -> None:
    stage = Stage(running=4)
    replica, free = stage.replica, [RESERVE_BYTES]
    replica._room = Room(lambda: free[0], RESERVE_BYTES)
    stage.world.run(500)
    assert replica.paused_for is None
    free[0] = RESERVE_BYTES - 1
    stage.world.run(200)
    assert replica.paused_for is not None
    entries, height = list(stage.log.entries), replica.tree.tip.height
    transfer = Transfer(recipient=bytes(20), amount_units=1)
    data = encode(make_transaction(stage.chain, stage.chain.users[0], transfer, nonce=0))
    with pytest.raises(TransactionRejected) as refused:
        replica.submit(data, lambda _error: None)
    assert refused.value.reason is TransactionReason.NO_ROOM
    with pytest.raises(RequestRejected) as upload:
        replica.put_blobs([b"content"])
    assert upload.value.reason is RequestReason.NO_ROOM
    sent: list[str] = []
    host = stage.world.nodes["v0"].host
    assert host is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host, "broadcast", lambda message: sent.append(type(message).__name__))
        stage.world.run(3 * STATUS_MS)
    assert sent == ["Status"] * 3, "its peers do not take it for dead"
    assert (stage.log.entries, replica.tree.tip.height) == (entries, height)
    sent.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replica._serving, "_send", lambda _peer, message: sent.append(type(message).__name__))
        patch.setattr(host, "send", lambda _peer, message: sent.append(type(message).__name__))
        replica.on_message(stage.peer, SyncRequest(from_height=1))
        replica.on_message(stage.peer, StatusRequest())
    assert sent == ["SyncResponse", "Status"]
    others = stage.world.nodes["v1"].replica
    assert others is not None
    assert others.tree.tip.height > height + 5, "the others went on"
    free[0] = 2 * RESERVE_BYTES - 1
    stage.world.run(500)
    assert replica.paused_for is not None
    free[0] = 2 * RESERVE_BYTES
    assert stage.world.run_until(lambda: replica.tree.tip.height >= others.tree.tip.height, 10_000)
    assert replica.paused_for is None
    count = len(stage.votes())
    stage.world.run(2_000)
    assert len(stage.votes()) > count, "it votes again"
    stage.invariants.check(stage.world)
