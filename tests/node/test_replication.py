"""Large contents between nodes: checked piece by piece, resumed, bounded, whoever lies; blocks go on meanwhile."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from node import replica as module
from node import replication
from node.modules.context import BlobRef
from node.p2p.messages import (
    LARGEST_MESSAGE_SIZE_BYTES,
    BlobRequest,
    BlobResponse,
    ContentHeld,
    Message,
    PieceRequest,
    PieceResponse,
    encode_message,
)
from node.primitives.crypto import sha256
from node.replica import Replica
from node.storage.blobs import Uses
from node.storage.wal import Born, FileLog
from node.types.content import PIECE_SIZE_BYTES, ContentManifest, cut, make_manifest
from node.types.parameters import Parameters
from tests.factories import make_chain
from tests.node.mesh import Member, Mesh, Twist

CONTENT = random.Random(5).randbytes(5 * PIECE_SIZE_BYTES - 7)
MANIFEST = make_manifest(cut(CONTENT))
NAME = MANIFEST.content
PARAMETERS = Parameters(delta_ms=100, epoch_length_heights=100, empty_block_interval_ms=500, blob_size_bytes=2**26)


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    """Four validators that are not started yet."""
    chain = make_chain(users=1, parameters=PARAMETERS)
    mesh = Mesh(chain, tmp_path)
    for key in chain.consensus_keys:
        member = mesh.add(key=key)
        log = FileLog(member.directory / "log", chain.genesis.hash())
        log.append([Born(genesis_hash=chain.genesis.hash(), validator=key.address)])
        log.close()
    yield mesh
    mesh.close()


def start(mesh: Mesh) -> list[Member]:
    for member in mesh.members:
        member.start()
    return mesh.members


def of(member: Member) -> Replica:
    assert member.replica is not None
    return member.replica


def upload(member: Member, content: bytes = CONTENT) -> None:
    """Brings a content to a node piece by piece, as a client does."""
    manifest = make_manifest(cut(content))
    partial = of(member).begin_upload(manifest, "127.0.0.1")
    assert partial is not None
    for index, piece in enumerate(cut(content)):
        of(member).put_piece(partial, index, piece, lambda error: None)


def hold(member: Member, content: bytes = CONTENT) -> None:
    """Gives a content to a node that tells nobody."""
    of(member).blobs.put([content], 0)


def has(*members: Member, name: bytes = NAME) -> bool:
    return all(of(each).blobs.has(name) for each in members)


def sent(members: Sequence[Member], kind: type[Message]) -> list[tuple[bytes, Message]]:
    return [each for member in members for each in member.sent if isinstance(each[1], kind)]


def penalties(mesh: Mesh) -> list[str]:
    return [each for member in mesh.members for each in member.penalties]


def test_three_validators_get_a_content_from_one_in_pieces_while_blocks_go_on(mesh: Mesh) -> None:
    source, *others = start(mesh)
    assert mesh.run_until(lambda: source.height >= 2)
    times: list[int] = []
    of(source).on_final_block.append(lambda _final: times.append(mesh.now_ms))
    upload(source)
    assert mesh.run_until(lambda: has(*others), 20_000)
    assert mesh.run_until(lambda: len(times) >= 5)
    gaps = [after - before for before, after in pairwise(times)]
    assert max(gaps) <= 2 * PARAMETERS.empty_block_interval_ms
    assert all(of(each).blobs.get(NAME) == CONTENT for each in others)
    largest = max(len(encode_message(message)) for member in mesh.members for _, message in member.sent)
    assert PIECE_SIZE_BYTES < largest < PIECE_SIZE_BYTES + 1_000 < LARGEST_MESSAGE_SIZE_BYTES
    assert mesh.run_until(lambda: of(source).replication.holders(NAME) == 3)
    assert penalties(mesh) == []


def test_pieces_are_asked_of_all_who_hold_the_content(mesh: Mesh) -> None:
    members = start(mesh)
    for member in members[:3]:
        hold(member)
    of(members[3]).want_blobs([NAME], members[0].peer_id, {NAME: len(CONTENT)})
    assert mesh.run_until(lambda: has(members[3]))
    assert {peer for peer, _ in sent(members[3:], PieceRequest)} == {each.peer_id for each in members[:3]}
    assert len(sent(members, PieceResponse)) == len(MANIFEST.pieces)


def lie_about(*, pieces_too: bool) -> Twist:
    """A manifest of other bytes under the content's name, and these bytes too, or none."""
    other = cut(random.Random(6).randbytes(len(CONTENT)))
    lie = replace(make_manifest(other), content=NAME)

    def twist(message: Message) -> Sequence[Message]:
        match message:
            case ContentHeld():
                return (ContentHeld(manifest=lie),)
            case PieceResponse(manifest_id=manifest_id, index=index) if manifest_id == lie.id() and pieces_too:
                return (PieceResponse(manifest_id=manifest_id, index=index, data=other[index]),)
            case PieceResponse():
                return ()
        return (message,)

    return twist


@pytest.mark.parametrize("pieces_too", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_lying_manifest_is_found_out_and_the_content_comes_from_an_honest_peer(mesh: Mesh, pieces_too: bool) -> None:
    mesh.members[0].twist = lie_about(pieces_too=pieces_too)
    liar, honest, _, taker = start(mesh)
    hold(liar)
    hold(honest)
    of(taker).want_blobs([NAME], liar.peer_id, {NAME: len(CONTENT)})
    assert mesh.run_until(lambda: has(taker), 60_000)
    assert of(taker).blobs.get(NAME) == CONTENT
    assert of(taker).blobs.pieces.partials == {}
    assert penalties(mesh) == []  # an honest node is not penalised for what it could not know


def test_manifest_of_another_size_than_the_transaction_says_is_not_fetched(mesh: Mesh) -> None:
    holder, _, _, taker = start(mesh)
    hold(holder)
    of(taker).want_blobs([NAME], holder.peer_id, {NAME: len(CONTENT) + 1})
    assert not mesh.run_until(lambda: bool(sent([taker], PieceRequest)), 5_000)
    assert penalties(mesh) == []
    of(taker).want_blobs([NAME], holder.peer_id, {NAME: len(CONTENT)})  # another transaction says the truth
    assert mesh.run_until(lambda: has(taker))


def test_manifest_whose_pieces_are_not_its_size_is_penalised(mesh: Mesh) -> None:
    mesh.members[0].twist = lambda message: (
        (ContentHeld(manifest=replace(MANIFEST, size_bytes=2**21)),) if isinstance(message, ContentHeld) else (message,)
    )
    liar, honest, _, taker = start(mesh)
    hold(liar)
    hold(honest)
    of(taker).want_blobs([NAME], liar.peer_id)
    assert mesh.run_until(lambda: has(taker))
    assert taker.penalties == ["out_of_range: a manifest whose pieces are not its size"]


@pytest.mark.parametrize("data", [b"x", bytes(PIECE_SIZE_BYTES)])
def test_wrong_piece_is_penalised_and_the_content_comes_from_another(mesh: Mesh, data: bytes) -> None:
    mesh.members[0].twist = lambda message: (
        (replace(message, data=data),) if isinstance(message, PieceResponse) else (message,)
    )
    liar, honest, _, taker = start(mesh)
    hold(liar)
    hold(honest)
    of(taker).want_blobs([NAME], liar.peer_id)
    assert mesh.run_until(lambda: has(taker))
    assert set(taker.penalties) == {"malformed: a piece is not the manifest's"}
    assert of(taker).blobs.get(NAME) == CONTENT


def test_pieces_nobody_asked_for_change_nothing(mesh: Mesh) -> None:
    members = start(mesh)
    for index in (0, 4, 5, 63):
        members[0].send(members[1].peer_id, PieceResponse(manifest_id=MANIFEST.id(), index=index, data=b"unasked"))
    mesh.run_until(lambda: False, 500)
    assert list(members[1].blobs.iterate(b"p", b"q")) == []
    assert penalties(mesh) == []


def test_node_without_the_piece_says_so_and_is_not_penalised(mesh: Mesh) -> None:
    members = start(mesh)
    hold(members[0])
    other = replace(MANIFEST, pieces=MANIFEST.pieces[::-1]).id()
    for name, manifest_id, index in [(NAME, other, 0), (NAME, MANIFEST.id(), 63), (sha256(b"x"), MANIFEST.id(), 0)]:
        members[1].send(members[0].peer_id, PieceRequest(content=name, manifest_id=manifest_id, index=index))
    assert mesh.run_until(lambda: len(sent(members, PieceResponse)) == 3)
    assert {message.data for _, message in sent(members, PieceResponse)} == {b""}


def test_node_that_is_killed_in_the_middle_fetches_only_what_is_missing(mesh: Mesh) -> None:
    holder, _, _, taker = start(mesh)
    hold(holder)
    holder.twist = lambda message: () if isinstance(message, PieceResponse) and message.index > 2 else (message,)
    of(taker).want_blobs([NAME], holder.peer_id)
    assert mesh.run_until(lambda: any(len(each.have) == 3 for each in of(taker).blobs.pieces.partials.values()))
    taker.end()
    before = len(sent([holder], PieceResponse))
    holder.twist = None
    taker.start()
    assert mesh.run_until(lambda: has(taker))
    assert of(taker).blobs.get(NAME) == CONTENT
    asked = {message.index for _, message in sent([holder], PieceResponse)[before:]}
    assert asked == {3, 4}


def test_content_goes_on_with_another_peer_when_the_first_one_is_gone(mesh: Mesh) -> None:
    first, second, _, taker = start(mesh)
    hold(first)
    first.twist = lambda message: () if isinstance(message, PieceResponse) and message.index > 1 else (message,)
    of(taker).want_blobs([NAME], first.peer_id)
    assert mesh.run_until(lambda: any(len(each.have) == 2 for each in of(taker).blobs.pieces.partials.values()))
    first.end()
    hold(second)
    assert mesh.run_until(lambda: has(taker), 60_000)
    served = {message.index for _, message in sent([second], PieceResponse)}
    assert served == {2, 3, 4}


def test_upload_and_fetch_of_one_content_at_once_help_each_other(mesh: Mesh) -> None:
    holder, _, _, taker = start(mesh)
    hold(holder)
    holder.twist = lambda message: () if isinstance(message, PieceResponse) and message.index > 1 else (message,)
    of(taker).want_blobs([NAME], holder.peer_id)
    assert mesh.run_until(lambda: any(len(each.have) == 2 for each in of(taker).blobs.pieces.partials.values()))
    partial = of(taker).begin_upload(MANIFEST, "127.0.0.1")
    assert partial is not None
    assert partial.missing == [2, 3, 4]
    errors: list[object] = []
    for index in (2, 3, 4, 4):
        of(taker).put_piece(partial, index, cut(CONTENT)[index], errors.append)
    assert mesh.run_until(lambda: has(taker))
    assert errors == [None] * 4


@pytest.mark.slow
def test_what_is_begun_and_brings_nothing_for_an_hour_is_swept(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNUSED_BLOB_MS", 20_000)
    monkeypatch.setattr(module, "SWEEP_MS", 1_000)
    holder, _, _, taker = start(mesh)
    hold(holder)
    holder.twist = lambda message: () if isinstance(message, PieceResponse) and message.index > 1 else (message,)
    of(taker).want_blobs([NAME], holder.peer_id)
    assert mesh.run_until(lambda: bool(list(taker.blobs.iterate(b"p", b"q"))))
    holder.end()
    assert mesh.run_until(lambda: not of(taker).blobs.pieces.partials, 40_000)
    assert [key for key in taker.blobs.values if key[:1] in b"ptg"] == []


@pytest.mark.slow
def test_peer_makes_a_node_take_no_more_unused_contents_than_its_part(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replication, "OFFERED_SIZE_BYTES", 2 * len(CONTENT))
    members = start(mesh)
    contents = [random.Random(seed).randbytes(len(CONTENT)) for seed in range(3)]
    names = [sha256(each) for each in contents]
    for content, name in zip(contents, names, strict=True):
        upload(members[0], content)
        mesh.run_until(lambda name=name: has(*members[1:], name=name), 4_000)
    assert has(*members[1:], name=names[0])
    assert has(*members[1:], name=names[1])
    assert not any(of(each).blobs.has(names[2]) for each in members[1:])
    of(members[1]).want_blobs([names[2]], members[0].peer_id)  # what a transaction refers to is no offer
    assert mesh.run_until(lambda: has(members[1], name=names[2]))


def test_who_is_no_validator_makes_nobody_take_a_content_and_gets_none_that_is_not_public(mesh: Mesh) -> None:
    members = start(mesh)
    hold(members[0])
    for member in members[:2]:
        of(member)._peer_of = {each: node for each, node in of(member)._peer_of.items() if node != members[3].peer_id}
    members[3].send(members[1].peer_id, ContentHeld(manifest=MANIFEST))
    members[3].send(members[0].peer_id, BlobRequest(hashes=(NAME,)))
    members[3].send(members[0].peer_id, PieceRequest(content=NAME, manifest_id=MANIFEST.id(), index=0))
    assert mesh.run_until(lambda: bool(sent([members[0]], PieceResponse)))
    assert [message.data for _, message in sent([members[0]], PieceResponse)] == [b""]
    assert sent([members[0]], ContentHeld) == []
    assert of(members[1]).blobs.pieces.partials == {}
    of(members[0]).blobs.apply_uses(Uses(height=1, referred=((NAME, False),)))
    members[3].send(members[0].peer_id, BlobRequest(hashes=(NAME,)))
    assert mesh.run_until(lambda: bool(sent([members[0]], ContentHeld)))


@pytest.mark.slow
def test_erased_content_is_not_fetched_and_leaves_no_piece(mesh: Mesh) -> None:
    holder, _, _, taker = start(mesh)
    hold(holder)
    holder.twist = lambda message: () if isinstance(message, PieceResponse) and message.index > 1 else (message,)
    of(taker).want_blobs([NAME], holder.peer_id)
    assert mesh.run_until(lambda: any(len(each.have) == 2 for each in of(taker).blobs.pieces.partials.values()))
    of(taker).blobs.apply_uses(Uses(height=1, erased=(NAME,)))
    of(taker).replication.forget(NAME)
    holder.twist = None
    mesh.run_until(lambda: False, 12_000)
    assert [key for key in taker.blobs.values if key[:1] in b"ptgm"] == []
    of(taker).blobs.purge([NAME])
    assert of(taker).blobs.erased() == []


def test_full_disk_takes_no_piece(mesh: Mesh) -> None:
    members = start(mesh)
    replica = of(members[0])

    class Full:
        lack = "the disk is full"

        def look(self) -> bool:
            return False

    partial = replica.begin_upload(MANIFEST, "127.0.0.1")
    assert partial is not None
    replica._room = Full()  # type: ignore[assignment]
    with pytest.raises(module.RequestRejected, match="no_room"):
        replica.put_piece(partial, 0, cut(CONTENT)[0], lambda _error: None)
    with pytest.raises(module.RequestRejected, match="no_room"):
        replica.begin_upload(MANIFEST, "127.0.0.1")


def test_pieces_on_their_way_are_few_at_a_time(mesh: Mesh) -> None:
    members = start(mesh)
    content = random.Random(9).randbytes(20 * PIECE_SIZE_BYTES)
    manifest: ContentManifest = make_manifest(cut(content))
    for member in members[:3]:
        hold(member, content)
    under_way = 0
    most = [0]

    def count(message: Message, step: int) -> None:
        nonlocal under_way
        under_way += step
        most[0] = max(most[0], under_way)

    def asking(message: Message) -> Sequence[Message]:
        if isinstance(message, PieceRequest):
            count(message, 1)
        return (message,)

    original = of(members[3]).on_message

    def taking(peer: bytes, message: Message) -> None:
        if isinstance(message, PieceResponse):
            count(message, -1)
        original(peer, message)

    members[3].twist = asking
    of(members[3]).on_message = taking  # type: ignore[method-assign]
    of(members[3]).want_blobs([manifest.content], members[0].peer_id)
    assert mesh.run_until(lambda: has(members[3], name=manifest.content))
    assert 2 <= most[0] <= 3 * replication.PIECES_PER_PEER


def test_small_contents_still_come_whole(mesh: Mesh) -> None:
    holder, _, _, taker = start(mesh)
    content = bytes(PIECE_SIZE_BYTES)
    hold(holder, content)
    of(taker).want_blobs([sha256(content)], holder.peer_id)
    assert mesh.run_until(lambda: has(taker, name=sha256(content)))
    assert sent([holder], ContentHeld) == []
    assert any(message.contents == (content,) for _, message in sent([holder], BlobResponse))


def test_who_holds_a_new_large_content_is_known_before_it_is_proposed(mesh: Mesh) -> None:
    source, *others = start(mesh)
    asked: list[bool] = []

    class Kind:
        @staticmethod
        def blobs(_payload: object) -> tuple[BlobRef, ...]:
            return (BlobRef(hash=NAME, size_bytes=len(CONTENT)),)

    class Candidate:
        kind, payload = Kind, None

    def is_spread() -> bool:
        return of(source)._is_spread(Candidate())  # type: ignore[arg-type]

    for other in others:
        other.twist = lambda message: () if isinstance(message, PieceRequest) else (message,)
    upload(source)
    assert mesh.run_until(lambda: has(source))
    asked.append(is_spread())
    for other in others[:2]:
        other.twist = None
    assert mesh.run_until(lambda: has(*others[:2]), 60_000)
    assert mesh.run_until(is_spread)
    assert asked == [False]
    assert not has(others[2])
    of(source).blobs.apply_uses(Uses(height=1, referred=((NAME, False),)))
    assert is_spread()
