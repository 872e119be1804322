"""Rollback: block by block back to the very state it was, as far as undo reaches, and forward again."""

from __future__ import annotations

from pathlib import Path

import pytest

from consensus.evidence import find_conflict
from consensus.types import Vote
from node import rollback as module
from node.beginning import open_ledger
from node.errors import StorageError
from node.modules.validators import GOVERNING
from node.p2p.messages import Votes
from node.rollback import lowest_rollback_height, roll_back
from node.state.store import UNDO_HEIGHTS, StateStore
from node.storage.kv import MemoryStore
from node.storage.schema import Column, column_key, height_key
from node.storage.wal import Born, FileLog, VoteCast
from node.types.parameters import Parameters
from tests.factories import make_chain
from tests.node.mesh import Mesh
from tests.node.test_snapshot import generate


def everything(store: MemoryStore) -> dict[bytes, bytes]:
    """All but what later blocks throw away for good."""
    return {key: value for key, value in store.values.items() if key[0] != Column.UNDO}


@pytest.mark.parametrize("to_height", [19, 16, 15, 8, 7, 0])
def test_store_after_it_is_what_it_was_at_that_height(to_height: int) -> None:
    store, earlier = MemoryStore(), MemoryStore()
    generate(20, store)
    generate(to_height, earlier)
    header = roll_back(store, to_height)
    assert header.height == to_height
    assert everything(store) == everything(earlier) | kept_ends(store)


def kept_ends(store: MemoryStore) -> dict[bytes, bytes]:
    """What ended an epoch is final for ever."""
    return {key: value for key, value in store.values.items() if key[0] == Column.EPOCH_END}


def test_it_refuses_to_go_above_the_tip_or_below_what_undo_covers() -> None:
    store = MemoryStore()
    generate(20, store)
    store.write({column_key(Column.UNDO, height_key(5)): None})
    assert lowest_rollback_height(store) == 5
    for height in (4, 21):
        with pytest.raises(StorageError, match=f"can go back from height 20 to 5, not to {height}"):
            roll_back(store, height)
    assert roll_back(store, 5).height == 5


def test_undo_reaches_as_far_as_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from node.state import store as state_store

    monkeypatch.setattr(state_store, "UNDO_HEIGHTS", 6)
    store = MemoryStore()
    generate(20, store)
    assert lowest_rollback_height(store) == 14
    assert UNDO_HEIGHTS == 256


def test_stopped_in_the_middle_it_is_at_a_whole_block(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    chain, _ = generate(20, store)
    original = module._take_back

    class Cut(Exception):
        pass

    def cut_short(of: MemoryStore, height: int) -> None:
        if height == 17:
            raise Cut
        original(of, height)

    monkeypatch.setattr(module, "_take_back", cut_short)
    with pytest.raises(Cut):
        roll_back(store, 10)
    assert open_ledger(store, chain.genesis).tip.height == 17
    monkeypatch.setattr(module, "_take_back", original)
    assert roll_back(store, 10).height == 10


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_validators_that_were_rolled_back_into_an_earlier_epoch_come_back_and_sign_nothing_twice(
    tmp_path: Path, count: int
) -> None:
    parameters = Parameters(delta_ms=100, empty_block_interval_ms=200, epoch_length_heights=6)
    chain = make_chain(parameters=parameters)
    mesh = Mesh(chain, tmp_path)
    for index in range(4):
        member = mesh.add(key=chain.consensus_keys[index])
        log = FileLog(member.directory / "log", chain.genesis_hash)
        log.append([Born(genesis_hash=chain.genesis_hash, validator=chain.consensus_keys[index].address)])
        log.close()
    for member in mesh.members:
        member.start()
    try:
        assert mesh.run_until(lambda: min(member.height for member in mesh.members) >= 16)
        victims = mesh.members[-count:]
        victim, top = victims[-1], min(each.height for each in victims)
        for each in victims:
            each.end()
            each.barred.clear()
            roll_back(each.store, top - 8)
            earlier_epoch = GOVERNING.get(StateStore(each.store)).epoch
            assert earlier_epoch < (top - 1) // 6 + 1, "it begins in an earlier epoch"
        for each in victims:
            each.start()
        assert mesh.run_until(lambda: min(each.height for each in mesh.members) >= top + 8)
        assert [member.stopped for member in mesh.members] == [None] * 4
        assert [member.penalties for member in mesh.members] == [[]] * 4
        assert mesh.run_until(lambda: any(isinstance(message, Votes) for _, message in victim.sent[-50:]))
    finally:
        mesh.close()
    log = FileLog(victim.directory / "log", chain.genesis_hash)
    votes: dict[tuple[int, int], list[Vote]] = {}
    for entry in log.replay():
        if isinstance(entry, VoteCast):
            statement = entry.vote.statement
            for earlier in votes.setdefault((statement.epoch, statement.view), []):
                assert find_conflict(earlier, entry.vote) is None
            votes[statement.epoch, statement.view].append(entry.vote)
    log.close()
    assert len(votes) > 10


def test_damaged_undo_is_found_before_anything_is_written() -> None:
    store = MemoryStore()
    generate(20, store)
    store.write({column_key(Column.UNDO, height_key(20)): store.values[column_key(Column.UNDO, height_key(19))]})
    before = dict(store.values)
    with pytest.raises(StorageError, match="undoing height 20 does not lead to the state of height 19"):
        roll_back(store, 18)
    assert store.values == before
