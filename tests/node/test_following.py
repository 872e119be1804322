"""What peers claim about their height is believed from more than a third of the power, and one liar moves nobody."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from node.following import SYNC_LAG_HEIGHTS, Powers, claimed_height
from node.p2p.messages import BlocksPruned, Message, Snapshots, SnapshotsRequest, Status, SyncRequest
from node.replica import FinalBlock
from node.snapshot import make_snapshot
from node.storage.wal import Born, FileLog
from node.types.parameters import Parameters
from tests.factories import make_chain
from tests.node.mesh import Member, Mesh

FOUR = Powers(of_peer={b"a": 1, b"b": 1, b"c": 1, b"d": 1}, total=4)
UNEQUAL = Powers(of_peer={b"a": 4, b"b": 2, b"c": 2, b"d": 2}, total=10)


@pytest.mark.parametrize(
    ("heights", "powers", "expected"),
    [
        ({}, FOUR, None),
        ({b"b": 7}, FOUR, 7),
        ({b"b": 1_000, b"c": 7}, FOUR, 7),
        ({b"b": 1_000, b"c": 7, b"d": 6}, FOUR, 7),
        ({b"b": 1_000, b"c": 900, b"d": 6}, FOUR, 900),
        ({b"a": 1_000, b"b": 7}, UNEQUAL, 1_000),
        ({b"b": 1_000, b"c": 7, b"d": 6}, UNEQUAL, 7),
        ({b"b": 1_000, b"c": 7}, Powers(of_peer={b"b": 1, b"c": 1}, total=6), 7),
        ({b"b": 1_000, b"c": 7}, Powers(of_peer={b"b": 1, b"c": 1}, total=7), 7),
        ({b"x": 1_000, b"y": 900, b"c": 7, b"d": 6}, FOUR, 6),
        ({b"x": 1_000, b"y": 9, b"z": 8}, FOUR, 9),
        ({b"x": 1_000}, FOUR, 1_000),
        ({b"x": 5, b"y": 9}, Powers(of_peer={}, total=0), 5),
    ],
)
def test_height_is_believed_from_more_than_a_third_of_the_power_else_from_the_second_highest_claim(
    heights: dict[bytes, int], powers: Powers, expected: int | None
) -> None:
    assert claimed_height(heights, powers) == expected


MESHES: list[Mesh] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while MESHES:
        MESHES.pop().close()


class Lied:
    """Four validators, the last of which says that it is far above, that the blocks are gone, and what it has."""

    def __init__(self, directory: Path) -> None:
        parameters = Parameters(delta_ms=100, epoch_length_heights=8, empty_block_interval_ms=500)
        chain = make_chain(users=1, parameters=parameters)
        self.mesh = Mesh(chain, directory)
        MESHES.append(self.mesh)
        for index, key in enumerate(chain.consensus_keys):
            member = self.mesh.add(key=key, twist=boast if index == 3 else None)
            log = FileLog(member.directory / "log", chain.genesis.hash())
            log.append([Born(genesis_hash=chain.genesis.hash(), validator=key.address)])
            log.close()
        for member in self.mesh.members:
            member.start()
        *self.honest, self.liar = self.mesh.members
        self.lies = 0
        self._lie(self.liar)

    def _lie(self, liar: Member) -> None:
        replica = liar.replica
        assert replica is not None
        original = replica.on_message

        def on_message(peer: bytes, message: Message) -> None:
            if isinstance(message, SyncRequest):
                lowest_height = message.from_height + 900
                liar.send(peer, BlocksPruned(from_height=message.from_height, lowest_height=lowest_height))
            else:
                original(peer, message)

        def on_final(final: FinalBlock) -> None:
            if final.certificate is None or not final.executed.is_epoch_end:
                return
            make_snapshot(liar.shelf, liar.store.freeze(), final.executed.block.header, final.certificate, 1)
            self.lies += 1
            newest = liar.shelf.all()[0][1]
            liar.broadcast(Snapshots(snapshots=(newest,)))

        replica.on_message = on_message  # type: ignore[method-assign]
        replica.on_final_block.append(on_final)

    def lags(self) -> list[int]:
        """How far behind the honest ones take themselves to be."""
        return [member.replica.lag_heights for member in self.honest if member.replica is not None]


def boast(message: Message) -> Sequence[Message]:
    return (replace(message, height=message.height + 1_000),) if isinstance(message, Status) else (message,)


def test_one_liar_far_above_makes_no_validator_restart_look_for_a_snapshot_or_take_itself_to_be_behind(
    tmp_path: Path,
) -> None:
    world = Lied(tmp_path)
    worst: list[int] = []

    def is_watched() -> bool:
        worst.extend(world.lags())
        return all(member.height >= 40 for member in world.mesh.members)

    assert world.mesh.run_until(is_watched)
    assert world.lies >= 4
    assert max(worst) <= SYNC_LAG_HEIGHTS
    assert [member.restarts for member in world.honest] == [0, 0, 0]
    assert not any(isinstance(message, SnapshotsRequest) for member in world.honest for _, message in member.sent)
    assert [member.penalties for member in world.honest] == [[], [], []]


def test_one_liar_begins_no_search_while_the_chain_stands_still_before_a_minute_and_restarts_nobody_after(
    tmp_path: Path,
) -> None:
    world = Lied(tmp_path)
    assert world.mesh.run_until(lambda: all(member.height >= 9 for member in world.mesh.members))
    world.honest[2].end()
    world.liar.twist = lambda message: boast(message) if isinstance(message, Status | BlocksPruned) else ()
    left = world.honest[0]

    def searches() -> bool:
        return any(isinstance(message, SnapshotsRequest) for _, message in left.sent)

    assert not world.mesh.run_until(searches, 50_000)
    asked = [message for peer, message in left.sent if peer == world.liar.peer_id and isinstance(message, SyncRequest)]
    assert asked, "it looked for blocks"
    assert world.mesh.run_until(searches, 30_000)
    assert not world.mesh.run_until(lambda: left.restarts > 0, 10_000)
