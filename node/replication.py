"""Contents between nodes: small ones whole, large ones piece by piece from several peers at once.

A peer that holds a large content says so with its manifest. Pieces are asked of all who hold it by that manifest, each
is checked against it when it comes, and the whole against its name at the end: who told of a manifest that was false is
left out for that content. What has come survives a restart. Hashing and writing happen off the event loop, and no
message is larger than a piece, so consensus never waits behind a content.

What is stored, and within which bounds, is `node.storage.pieces`.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, assert_never

import structlog

from consensus.quorum import is_quorum_power
from node.errors import MessageReason, MessageRejected, RequestReason, RequestRejected
from node.p2p.messages import (
    LARGEST_BLOBS_SIZE_BYTES,
    MOST_BLOBS_PER_MESSAGE,
    MOST_MANIFESTS,
    BlobRequest,
    BlobResponse,
    ContentHeld,
    Message,
    PieceRequest,
    PieceResponse,
)
from node.primitives.crypto import sha256
from node.storage.blobs import LARGEST_UNREFERENCED_SIZE_BYTES, BlobStore
from node.storage.pieces import UPLOAD, Partial
from node.sync import Fetcher
from node.types.content import ContentManifest

BLOBS_TIMEOUT_MS = 1_000
PIECE_TIMEOUT_MS = 8_000
"""A piece that has not come is asked of another peer too."""
STALL_MS = 2 * PIECE_TIMEOUT_MS
"""A content that brings no piece for so long is looked for anew; what has come stays."""
LOOK_MS = 4_000
"""How often those that are not known to hold a content are asked for it while it is fetched."""
MOST_TARGETS = 4
"""Large contents fetched at a time."""
MOST_OFFERS = 2
"""Of these, contents that nothing refers to yet."""
MOST_WRITING_UPLOADS = 16
"""Pieces of clients that are being written at a time."""
PIECES_PER_PEER = 2
"""Pieces asked of one peer at a time, for all contents: its votes wait behind no more than these."""
PIECES_AT_ONCE = 8
"""Pieces of all contents that are on their way or being written at a time: what they take in memory."""
REST_MS = 60_000
"""So long a peer is left out for a content that it told of and did not give."""
LIE_MS = 3_600_000
"""So long when its manifest was false."""
MOST_LEFT_OUT = 1_000
MOST_SIZES = 10_000
MOST_SIZES_OF_CONTENT = 8
MOST_HELD = 1_000
OFFERED_SIZE_BYTES = LARGEST_UNREFERENCED_SIZE_BYTES // 4
"""Most a peer may have this node take within an hour of what nothing refers to yet."""
OFFERED_MS = 3_600_000

OnPiece = Callable[[RequestRejected | None], None]

log = structlog.get_logger(__name__)


class ReplicationHost(Protocol):
    """What replication needs of the world."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970."""

    def monotonic_ms(self) -> int:
        """Milliseconds that never go back."""

    def send(self, peer: bytes, message: Message) -> None:
        """Sends to a connected peer, or drops the message."""

    def peers(self) -> Sequence[bytes]:
        """Connected peers, in a stable order."""

    def penalize(self, peer: bytes, error: MessageRejected) -> None:
        """A peer sent something it must not."""

    def run_aside(self, work: Callable[[], None], on_done: Callable[[], None]) -> None:
        """Does something slow that touches the stores only, off the event loop."""


@dataclass(slots=True)
class Target:
    """A large content that is fetched."""

    partial: Partial
    moved_ms: int
    """When it was begun or a new piece came last."""
    looked_ms: int
    """When peers were asked last who else holds it."""
    holders: list[bytes] = field(default_factory=list)
    """Who told of it by this manifest."""
    asked: dict[int, tuple[bytes, int]] = field(default_factory=dict)
    """Of whom each piece was asked last, and when."""
    was_asked: set[tuple[bytes, int]] = field(default_factory=set)
    """Every peer and piece that was asked: a late answer is as good."""
    writing: set[int] = field(default_factory=set)
    """Pieces that are being checked and written."""


class Replication:
    """The contents of one node, as peers bring and want them."""

    def __init__(
        self,
        *,
        blobs: BlobStore,
        host: ReplicationHost,
        validators: Callable[[], Collection[bytes]],
        largest_size_bytes: Callable[[], int],
        on_arrived: Callable[[Sequence[bytes]], None],
    ) -> None:
        """`validators` are the nodes of the current set; `on_arrived` hears of contents that have come."""
        self._blobs = blobs
        self._host = host
        self._validators = validators
        self._largest_size_bytes = largest_size_bytes
        self._on_arrived = on_arrived
        self._fetcher: Fetcher[bytes] = Fetcher(self._ask_blobs, BLOBS_TIMEOUT_MS, MOST_BLOBS_PER_MESSAGE)
        self._targets: dict[bytes, Target] = {}
        """By content."""
        self._left_out: OrderedDict[tuple[bytes, bytes], int] = OrderedDict()
        """Until when a peer is not asked for a content."""
        self._sizes: OrderedDict[bytes, set[int]] = OrderedDict()
        """What transactions say about the sizes of contents that are missing."""
        self._held: OrderedDict[bytes, set[bytes]] = OrderedDict()
        """Peers that said they hold a large content."""
        self._on_checked: dict[bytes, list[OnPiece]] = {}
        """Who waits for the whole to be checked, by manifest id."""
        self._writing_uploads = 0
        self._offered: dict[bytes, tuple[int, int]] = {}
        """Since when, and how many bytes, each peer had this node take."""
        # What was on its way when this node stopped is looked for again.
        resumed = [each.manifest.content for each in blobs.pieces.partials.values() if not each.is_upload]
        self._fetcher.want(resumed, None)

    # What is missing.

    @property
    def is_idle(self) -> bool:
        """Whether nothing is missing."""
        return not len(self._fetcher)

    def want(self, hashes: Sequence[bytes], first_peer: bytes | None, sizes: Mapping[bytes, int] | None = None) -> None:
        """Contents are missing; `sizes` are what a transaction says about them."""
        for content, size_bytes in (sizes or {}).items():
            known = self._sizes.setdefault(content, set())
            if size_bytes not in known and len(known) < MOST_SIZES_OF_CONTENT:
                known.add(size_bytes)
                # The one who said another size may have lied: whoever did not fit it is heard again.
                for key in [key for key in self._left_out if key[0] == content]:
                    del self._left_out[key]
            if len(self._sizes) > MOST_SIZES:
                self._sizes.popitem(last=False)
        self._fetcher.want(hashes, first_peer)

    def forget(self, content: bytes) -> None:
        """A content is erased: nobody asks for it any more."""
        self._fetcher.got(content)
        self._targets.pop(content, None)

    def run(self) -> None:
        """Asks for what is missing."""
        self._fetcher.run(self._host.monotonic_ms(), self._host.peers(), skip=self._targets)
        self._ask_pieces()

    def sweep(self, older_than_ms: int) -> None:
        """Lets go of what was begun and brought nothing since a time (wall clock)."""
        for partial in self._blobs.pieces.sweep(older_than_ms):
            log.info("content_given_up", content=partial.manifest.content.hex())
            target = self._targets.get(partial.manifest.content)
            if target is not None and target.partial is partial:
                del self._targets[partial.manifest.content]

    def on_message(
        self, peer: bytes, message: BlobRequest | BlobResponse | ContentHeld | PieceRequest | PieceResponse
    ) -> None:
        """A peer's message. Raises: MessageRejected OUT_OF_RANGE."""
        match message:
            case BlobRequest(hashes=hashes):
                self.on_request(peer, hashes)
            case BlobResponse(contents=contents):
                self.on_contents(peer, contents)
            case ContentHeld(manifest=manifest):
                self.on_held(peer, manifest)
            case PieceRequest():
                self.on_piece_request(peer, message)
            case PieceResponse():
                self.on_piece(peer, message)
            case _:
                assert_never(message)

    # What peers want.

    def on_request(self, peer: bytes, hashes: Sequence[bytes]) -> None:
        """A peer asks for contents: small ones are the answer, of large ones it hears what they are made of."""
        found: list[bytes] = []
        size_bytes = told = 0
        for blob_hash in hashes:
            if not self._may_have(peer, blob_hash):
                continue
            manifest = self._blobs.pieces.manifest(blob_hash)
            if manifest is not None:
                told += 1
                if told <= MOST_MANIFESTS:
                    self._host.send(peer, ContentHeld(manifest=manifest))
                continue
            content = self._blobs.get(blob_hash)
            if content is None:
                continue
            size_bytes += len(content)
            if found and size_bytes > LARGEST_BLOBS_SIZE_BYTES:
                break
            found.append(content)
        self._host.send(peer, BlobResponse(contents=tuple(found)))

    def on_piece_request(self, peer: bytes, message: PieceRequest) -> None:
        """A peer asks for a piece of a content that is here whole."""
        data = None
        if self._may_have(peer, message.content) and self._blobs.has(message.content):
            data = self._blobs.pieces.piece(message.manifest_id, message.index)
        self._host.send(peer, PieceResponse(manifest_id=message.manifest_id, index=message.index, data=data or b""))

    # What peers bring.

    def on_contents(self, peer: bytes, contents: Sequence[bytes]) -> None:
        """Small contents."""
        asked = [content for content in contents if self._fetcher.was_asked(sha256(content), peer)]
        if not asked:
            # Two peers may answer the same question; only what nobody is waiting for any more is left out.
            return
        hashes = self._blobs.put(asked, self._host.wall_ms())
        for blob_hash in hashes:
            self._fetcher.got(blob_hash)
        if hashes:  # an answer holds what one message takes: the rest is asked for at once
            self._fetcher.ask_again(peer)
            self.run()
        self._on_arrived(hashes)

    def on_held(self, peer: bytes, manifest: ContentManifest) -> None:
        """A peer holds a large content. Raises: MessageRejected OUT_OF_RANGE when that is no manifest."""
        if not manifest.is_consistent:
            raise MessageRejected(MessageReason.OUT_OF_RANGE, "a manifest whose pieces are not its size")
        content, now_ms = manifest.content, self._host.monotonic_ms()
        self._note_holder(content, peer)
        if self._blobs.has(content) or self._blobs.is_erased(content):
            self._fetcher.got(content)
            return
        if self._left_out.get((content, peer), 0) > now_ms:
            return
        target = self._targets.get(content)
        if target is not None:
            if target.partial.manifest == manifest and peer not in target.holders:
                target.holders.append(peer)
                self._ask_pieces()
            return
        is_wanted = content in self._fetcher
        if not self._is_plausible(manifest):
            self._leave_out(content, peer, REST_MS)
            self._fetcher.retry(content)
        elif len(self._targets) < (MOST_TARGETS if is_wanted else MOST_OFFERS) and (
            is_wanted or self._takes_offer(peer, manifest)
        ):
            self._begin(peer, manifest)

    def on_piece(self, peer: bytes, message: PieceResponse) -> None:
        """A piece, if it was asked for; checked and written aside."""
        target = next((each for each in self._targets.values() if each.partial.id == message.manifest_id), None)
        index = message.index
        if target is None or (peer, index) not in target.was_asked:
            return
        target.was_asked.discard((peer, index))
        if target.asked.get(index, (b"", 0))[0] == peer:
            del target.asked[index]
        if index in target.partial.have or index in target.writing:
            return
        if not message.data:
            self._drop_holder(target, peer)
            return
        target.writing.add(index)

        def on_stored(is_piece: bool) -> None:
            target.writing.discard(index)
            if not is_piece:
                # It said that it holds the content by this very manifest: no honest node has other bytes then.
                self._drop_holder(target, peer)
                self._host.penalize(peer, MessageRejected(MessageReason.MALFORMED, "a piece is not the manifest's"))
            else:
                target.moved_ms = self._host.monotonic_ms()
            self._ask_pieces()

        self._store_piece(target.partial, index, message.data, on_stored)
        self._ask_pieces()

    # What clients bring.

    def begin_upload(self, manifest: ContentManifest, address: str) -> Partial | None:
        """A client is going to bring a content; None when it is here already.

        Raises: RequestRejected INVALID_PARAMETER, TOO_LARGE, ERASED, TOO_MANY_UPLOADS.
        """
        if not manifest.is_consistent:
            count = -(-manifest.size_bytes // manifest.piece_size_bytes(0))
            raise RequestRejected(RequestReason.INVALID_PARAMETER, f"a content of this size has {count} pieces")
        limit = self._largest_size_bytes()
        if manifest.size_bytes > limit:
            raise RequestRejected(RequestReason.TOO_LARGE, f"a content has at most {limit} bytes")
        if self._blobs.is_erased(manifest.content):
            raise RequestRejected(RequestReason.ERASED)
        if self._blobs.has(manifest.content):
            return None
        pieces = self._blobs.pieces
        partial = pieces.partials.get(manifest.id())
        if partial is not None:
            if not partial.missing and not partial.is_finishing:
                self._finish(partial)  # this node stopped before it could
            return partial
        source, now_ms = UPLOAD + address.encode()[:64], self._host.wall_ms()
        is_full = self._blobs.unreferenced_size_bytes + manifest.size_bytes > LARGEST_UNREFERENCED_SIZE_BYTES
        if is_full or not pieces.has_room(manifest, source, now_ms):
            raise RequestRejected(RequestReason.TOO_MANY_UPLOADS)
        return pieces.begin(manifest, source, now_ms)

    def put_piece(self, partial: Partial, index: int, data: bytes, on_done: OnPiece) -> None:
        """A client's piece; the same again changes nothing. `on_done` is called once it is on the disk, and, with the
        last one, once the whole is checked. Raises: RequestRejected INVALID_PARAMETER, TOO_MANY_REQUESTS."""
        if index >= len(partial.manifest.pieces):
            count = len(partial.manifest.pieces)
            raise RequestRejected(RequestReason.INVALID_PARAMETER, f"the content has {count} pieces, from 0 on")
        if index in partial.have:
            on_done(None)
            return
        if self._writing_uploads >= MOST_WRITING_UPLOADS:
            raise RequestRejected(RequestReason.TOO_MANY_REQUESTS)
        self._writing_uploads += 1

        def on_stored(is_piece: bool) -> None:
            self._writing_uploads -= 1
            if not is_piece:
                on_done(RequestRejected(RequestReason.BAD_PIECE, f"piece {index}"))
            elif partial.is_finishing:
                self._on_checked.setdefault(partial.id, []).append(on_done)
            else:
                on_done(None)

        self._store_piece(partial, index, data, on_stored)

    def holders(self, content: bytes) -> int:
        """How many nodes of the validators are known to hold a large content, this node not counted."""
        return len(self._held.get(content, set()) & set(self._validators()))

    def is_spread(self, contents: Sequence[bytes], own: bytes, powers: Mapping[bytes, int], total_power: int) -> bool:
        """Whether a quorum, this node (`own`) counted, holds those of some contents that are large and new."""
        new = [each for each in contents if self._blobs.is_unused_in_pieces(each)]
        held_by = [self._held.get(each, set()) | {own} for each in new]
        return all(is_quorum_power(sum(powers.get(peer, 0) for peer in held), total_power) for held in held_by)

    # Helpers.

    def _begin(self, peer: bytes, manifest: ContentManifest) -> None:
        pieces, content, now_ms = self._blobs.pieces, manifest.content, self._host.monotonic_ms()
        partial = pieces.partials.get(manifest.id())
        if partial is None:
            if not pieces.has_room(manifest, peer, self._host.wall_ms()):
                return
            partial = pieces.begin(manifest, peer, self._host.wall_ms())
        self._targets[content] = target = Target(partial=partial, moved_ms=now_ms, looked_ms=now_ms, holders=[peer])
        log.info("content_begun", content=content.hex(), size_bytes=manifest.size_bytes, here=len(partial.have))
        self._look(target)
        if partial.missing:
            self._ask_pieces()
        else:
            self._finish(partial)

    def _look(self, target: Target) -> None:
        """Asks who else holds a content."""
        target.looked_ms = self._host.monotonic_ms()
        for peer in self._host.peers():
            if peer not in target.holders:
                self._host.send(peer, BlobRequest(hashes=(target.partial.manifest.content,)))

    def _ask_pieces(self) -> None:
        """Asks for pieces of what is fetched, of those who hold it, as many as may be on their way."""
        now_ms, peers = self._host.monotonic_ms(), set(self._host.peers())
        for content, target in list(self._targets.items()):
            target.holders = [each for each in target.holders if each in peers]
            late = [index for index, (_, asked_ms) in target.asked.items() if now_ms - asked_ms >= PIECE_TIMEOUT_MS]
            for index in late:
                del target.asked[index]
            if target.partial.is_finishing:
                continue
            if now_ms - target.moved_ms >= STALL_MS or target.partial.id not in self._blobs.pieces.partials:
                self._give_up(content, target)
            elif now_ms - target.looked_ms >= LOOK_MS:
                self._look(target)
        busy = Counter(peer for target in self._targets.values() for peer, _ in target.asked.values())
        under_way = sum(len(target.asked) + len(target.writing) for target in self._targets.values())
        for target in self._targets.values():
            for index in target.partial.missing:
                if index in target.asked or index in target.writing:
                    continue
                free = [each for each in target.holders if busy[each] < PIECES_PER_PEER]
                if not free or under_way >= PIECES_AT_ONCE:
                    break
                # One that was asked for this piece before and did not give it comes last.
                peer = min(free, key=lambda each: ((each, index) in target.was_asked, busy[each]))
                busy[peer] += 1
                under_way += 1
                target.asked[index] = (peer, now_ms)
                target.was_asked.add((peer, index))
                manifest = target.partial.manifest
                request = PieceRequest(content=manifest.content, manifest_id=target.partial.id, index=index)
                self._host.send(peer, request)

    def _give_up(self, content: bytes, target: Target) -> None:
        """A content brings nothing more: others are asked for it, what has come stays."""
        del self._targets[content]
        for peer in target.holders:
            self._leave_out(content, peer, REST_MS)
        self._fetcher.retry(content)

    def _drop_holder(self, target: Target, peer: bytes) -> None:
        """A peer does not give what it told of."""
        content = target.partial.manifest.content
        if peer in target.holders:
            target.holders.remove(peer)
            self._leave_out(content, peer, REST_MS)
        target.asked = {index: each for index, each in target.asked.items() if each[0] != peer}
        if not target.holders and self._targets.get(content) is target:
            self._give_up(content, target)

    def _store_piece(self, partial: Partial, index: int, data: bytes, on_stored: Callable[[bool], None]) -> None:
        """Checks and writes a piece aside; the last one makes the content whole."""
        pieces = self._blobs.pieces
        verdict: list[bool] = []

        def check() -> None:
            verdict.append(partial.manifest.is_piece(index, data))
            if verdict[0]:
                pieces.write_piece(partial.id, index, data)

        def on_done() -> None:
            known = pieces.note_piece(partial, index, self._host.wall_ms()) if verdict[0] else None
            if known is not None and not known.missing and not known.is_finishing:
                self._finish(known)
            on_stored(verdict[0])

        self._host.run_aside(check, on_done)

    def _finish(self, partial: Partial) -> None:
        """All pieces are here: the whole is checked against its name."""
        partial.is_finishing = True
        verdict: list[bool] = []

        def on_done() -> None:
            partial.is_finishing = False
            if self._blobs.pieces.partials.get(partial.id) is partial:  # it may be erased meanwhile
                self._settle(partial, is_true=verdict[0])
            error = None if verdict[0] else RequestRejected(RequestReason.BAD_PIECE, "the whole is not what is named")
            for tell in self._on_checked.pop(partial.id, ()):
                tell(error)

        self._host.run_aside(lambda: verdict.append(self._blobs.pieces.is_true(partial.manifest)), on_done)

    def _settle(self, partial: Partial, *, is_true: bool) -> None:
        content = partial.manifest.content
        target = self._targets.get(content)
        if target is not None and (is_true or target.partial is partial):
            del self._targets[content]
        if not is_true:
            log.warning("manifest_was_false", content=content.hex())
            for peer in target.holders if target is not None and target.partial is partial else ():
                self._leave_out(content, peer, LIE_MS)
            self._blobs.pieces.drop(partial)
            self._fetcher.retry(content)
            return
        self._blobs.put_partial(partial, self._host.wall_ms())
        self._fetcher.got(content)
        self._sizes.pop(content, None)
        log.info("content_came", content=content.hex(), size_bytes=partial.manifest.size_bytes)
        validators = self._validators()
        for peer in self._host.peers():
            if peer in validators:
                self._host.send(peer, ContentHeld(manifest=partial.manifest))
        self._on_arrived((content,))

    def _is_plausible(self, manifest: ContentManifest) -> bool:
        """Whether a manifest can be that of the content as the chain and those who refer to it know it."""
        sizes = self._sizes.get(manifest.content)
        return manifest.size_bytes <= self._largest_size_bytes() and (not sizes or manifest.size_bytes in sizes)

    def _takes_offer(self, peer: bytes, manifest: ContentManifest) -> bool:
        """Whether a content nobody refers to yet is taken from a validator, so that nobody waits for it later."""
        if peer not in self._validators():
            return False
        now_ms, size_bytes = self._host.monotonic_ms(), manifest.size_bytes
        since_ms, taken = self._offered.get(peer, (now_ms, 0))
        if now_ms - since_ms > OFFERED_MS:
            since_ms, taken = now_ms, 0
        unused = self._blobs.unreferenced_size_bytes + size_bytes
        if taken + size_bytes > OFFERED_SIZE_BYTES or unused > LARGEST_UNREFERENCED_SIZE_BYTES:
            return False
        self._offered[peer] = (since_ms, taken + size_bytes)
        return True

    def _may_have(self, peer: bytes, content: bytes) -> bool:
        return peer in self._validators() or self._blobs.is_public(content)

    def _note_holder(self, content: bytes, peer: bytes) -> None:
        self._held.setdefault(content, set()).add(peer)
        self._held.move_to_end(content)
        if len(self._held) > MOST_HELD:
            self._held.popitem(last=False)

    def _leave_out(self, content: bytes, peer: bytes, for_ms: int) -> None:
        self._left_out[content, peer] = self._host.monotonic_ms() + for_ms
        self._left_out.move_to_end((content, peer))
        if len(self._left_out) > MOST_LEFT_OUT:
            self._left_out.popitem(last=False)

    def _ask_blobs(self, peer: bytes, hashes: Sequence[bytes]) -> None:
        self._host.send(peer, BlobRequest(hashes=tuple(hashes)))
