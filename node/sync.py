"""Getting what is missing: blocks, contents, ranges of final blocks. One request per thing at a time, peer after peer.

A peer that does not answer, or answers wrongly, is passed over; the thing is asked of the next one. What nobody asked
for is not accepted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from consensus.types import Certificate, VoteKind
from node.errors import BlockReason, BlockRejected
from node.p2p.messages import MOST_SYNC_BLOCKS, SyncResponse
from node.storage.blocks import BlockStore
from node.types.block import Block, Header

K = TypeVar("K", bound=Hashable)

SYNC_RESPONSE_SIZE_BYTES = 2**20
"""About how much one answer carries: a block more is added if it is the first finalised one."""
LARGEST_SYNC_SIZE_BYTES = 6 * 2**20
"""More never: the next request goes on from there."""
MOST_SPAN_HEIGHTS = 4_096
"""The ends of a run are not believed when they are further apart: all bodies between them are kept at once."""
MOST_WANTED = 10_000


@dataclass(slots=True)
class Want:
    """Something missing."""

    next_peer: bytes | None
    """Who should have it: asked next, if it is there."""
    asked: list[bytes]
    """Who was asked, in order."""
    asked_ms: int | None
    """When the last one was asked."""


class Fetcher(Generic[K]):
    """Things of one sort that are missing, and who was asked for them."""

    def __init__(self, send: Callable[[bytes, Sequence[K]], None], timeout_ms: int, most_per_request: int) -> None:
        self._send = send
        self._timeout_ms = timeout_ms
        self._most_per_request = most_per_request
        self._wants: dict[K, Want] = {}
        self._missed: Counter[bytes] = Counter()
        """How often in a row each peer did not answer in time: such a one is asked after the others."""

    def __contains__(self, thing: K) -> bool:
        return thing in self._wants

    def __len__(self) -> int:
        return len(self._wants)

    def want(self, things: Iterable[K], first_peer: bytes | None) -> None:
        """These are missing; `first_peer` should have them."""
        for thing in things:
            if thing not in self._wants and len(self._wants) < MOST_WANTED:
                self._wants[thing] = Want(next_peer=first_peer, asked=[], asked_ms=None)

    def got(self, thing: K) -> bool:
        """This is here now. Returns whether it was missing."""
        want = self._wants.pop(thing, None)
        if want is not None and want.asked:
            self._missed.pop(want.asked[-1], None)
        return want is not None

    def retry(self, thing: K) -> None:
        """The answer was no good: ask the next peer at once."""
        want = self._wants.get(thing)
        if want is not None:
            want.asked_ms = None

    def ask_again(self, peer: bytes) -> None:
        """A peer answered a part of what it was asked for: it is asked for the rest."""
        for want in self._wants.values():
            if want.asked and want.asked[-1] == peer:
                want.next_peer, want.asked_ms = peer, None

    def was_asked(self, thing: K, peer: bytes) -> bool:
        """Whether a peer was asked for something that is still missing."""
        want = self._wants.get(thing)
        return want is not None and peer in want.asked

    def clear(self) -> None:
        """Nothing is missing any more."""
        self._wants.clear()

    def run(self, now_ms: int, peers: Sequence[bytes], skip: Collection[K] = ()) -> None:
        """Asks for what nobody was asked for lately; what is in `skip` has come and is being looked at."""
        requests: dict[bytes, list[K]] = {}
        for thing, want in self._wants.items():
            if thing in skip:
                continue
            if want.asked_ms is not None and now_ms < want.asked_ms + self._timeout_ms:
                continue
            if want.asked_ms is not None:
                self._missed[want.asked[-1]] += 1
            peer = _next_peer(want, peers, self._missed)
            if peer is not None:
                requests.setdefault(peer, []).append(thing)
        for peer, things in requests.items():
            page = things[: self._most_per_request]
            for thing in page:
                want = self._wants[thing]
                want.asked.append(peer)
                want.asked_ms = now_ms
            self._send(peer, page)


def make_sync_response(blocks: BlockStore, from_height: int, tip_height: int) -> SyncResponse | None:
    """Final blocks of one epoch from a height on, up to a directly finalised one; None when there are none.

    When one message does not hold the blocks up to the next one that was finalised directly, the answer is the headers
    of the two ends: who believes the certificate fetches what lies between by the ids of parents.
    """
    found: list[Block] = []
    size_bytes = 0
    best: tuple[int, Certificate] | None = None
    for height in range(from_height, tip_height + 1):
        block = blocks.block(height)
        if block is None or (found and block.header.epoch != found[0].header.epoch):
            break
        size_bytes += sum(map(len, block.transactions)) + 1_000
        if found and (size_bytes > LARGEST_SYNC_SIZE_BYTES or len(found) >= MOST_SYNC_BLOCKS):
            break
        found.append(block)
        certificate = blocks.certificate(height)
        if certificate is not None:
            best = (len(found), certificate)
            if size_bytes > SYNC_RESPONSE_SIZE_BYTES:
                break
    if best is None:
        return _ends(blocks, found, tip_height) if found else None
    count, certificate = best
    return SyncResponse(blocks=tuple(found[:count]), certificate=certificate)


def check_sync_response(
    response: SyncResponse, tip: Header, tip_id: bytes, epoch: int, verify: Callable[[Certificate], bool]
) -> tuple[tuple[bytes, Block], ...]:
    """The new blocks of an answer with their ids, if it proves that they are final right above our tip.

    `verify` checks a certificate's quorum and signatures for the current epoch. Of an answer that is the two ends of a
    longer run, the last block comes without its body.

    Raises: BlockRejected BAD_CERTIFICATE, WRONG_PARENT, WRONG_ROOT, TOO_LARGE.
    """
    first, last = response.blocks[0].header, response.blocks[-1].header
    if len(response.blocks) == 2 and last.height > first.height + 1:
        if last.height <= tip.height:
            return ()
        if last.height - tip.height > MOST_SPAN_HEIGHTS:
            raise BlockRejected(BlockReason.TOO_LARGE, f"a run of {last.height - tip.height} blocks without a proof")
        last_id = last.id()
        _require_finalization(response.certificate, last_id, epoch, verify)
        return ((last_id, Block(header=last, transactions=())),)
    fresh = [block for block in response.blocks if block.header.height > tip.height]
    if not fresh:
        return ()
    parent_id, height = tip_id, tip.height
    found: list[tuple[bytes, Block]] = []
    for block in fresh:
        header = block.header
        if (header.parent_id, header.height, header.epoch) != (parent_id, height + 1, epoch):
            raise BlockRejected(BlockReason.WRONG_PARENT, f"height {header.height}")
        if block.transactions_root() != header.transactions_root:
            raise BlockRejected(BlockReason.WRONG_ROOT, f"transactions of height {header.height}")
        parent_id, height = header.id(), header.height
        found.append((parent_id, block))
    _require_finalization(response.certificate, parent_id, epoch, verify)
    return tuple(found)


def _ends(blocks: BlockStore, found: Sequence[Block], tip_height: int) -> SyncResponse | None:
    """The first of some blocks and the next directly finalised one after them, without their bodies."""
    for height in range(found[-1].header.height + 1, tip_height + 1):
        certificate = blocks.certificate(height)
        if certificate is not None:
            last = blocks.block(height)
            assert last is not None, "what is finalised is stored"
            ends = tuple(Block(header=header, transactions=()) for header in (found[0].header, last.header))
            return SyncResponse(blocks=ends, certificate=certificate)
    return None


def _require_finalization(
    certificate: Certificate, block_id: bytes, epoch: int, verify: Callable[[Certificate], bool]
) -> None:
    statement = certificate.statement
    if statement.kind is not VoteKind.FINALIZE or (statement.epoch, statement.block_id) != (epoch, block_id):
        raise BlockRejected(BlockReason.BAD_CERTIFICATE, "it does not finalise the last block")
    if not verify(certificate):
        raise BlockRejected(BlockReason.BAD_CERTIFICATE)


def _next_peer(want: Want, peers: Sequence[bytes], missed: Mapping[bytes, int]) -> bytes | None:
    """The peer that should have it, then each other one once, then around again; who did not answer lately last."""
    if not peers:
        return None
    fewest = min(missed.get(peer, 0) for peer in peers)
    preferred, want.next_peer = want.next_peer, None
    if preferred is not None and preferred in peers and missed.get(preferred, 0) == fewest:
        return preferred
    untried = [peer for peer in peers if peer not in want.asked]
    if untried:
        fewest = min(missed.get(peer, 0) for peer in untried)
        best = [peer for peer in untried if missed.get(peer, 0) == fewest]
        return best[len(want.asked) % len(best)]
    last_asked = {peer: index for index, peer in enumerate(want.asked)}
    if len(want.asked) > 4 * len(peers):
        want.asked = want.asked[-2 * len(peers) :]
    return min(peers, key=lambda peer: last_asked.get(peer, -1))
