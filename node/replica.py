"""A whole node without its sockets: consensus, mempool, storage, gossip and sync around one ledger.

What it needs of the world comes through `ReplicaHost`: real clocks and connections in `node.app`, a heap and a seed in
the simulator. Every entry point is a plain call; the host calls `flush` at the end of each turn.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol, assert_never

import structlog

from consensus import inputs as on
from consensus.evidence import Evidence
from consensus.types import Certificate
from consensus.views import Final
from node.audit import Audit
from node.beginning import LoadFork, open_ledger
from node.claims import Claims
from node.engine import Engine, Host
from node.errors import (
    MessageReason,
    MessageRejected,
    RequestReason,
    RequestRejected,
    TransactionReason,
    TransactionRejected,
)
from node.execution.block import Executed
from node.execution.transaction import Candidate
from node.following import FETCH_TIMEOUT_MS, Following, Powers, SnapshotUse
from node.intake import Intake, OnDone, Signed
from node.keeper import UNUSED_BLOB_MS, Keeper
from node.mempool import Mempool
from node.modules.accounts import load_account
from node.modules.validators import GOVERNING, REGISTRY, Registry
from node.p2p.gossip import Gossip
from node.p2p.messages import (
    MOST_BLOBS_PER_MESSAGE,
    BlobRequest,
    BlobResponse,
    BlockProposal,
    BlockRequest,
    BlockResponse,
    BlocksPruned,
    CertificateRequest,
    Certificates,
    ChunkRequest,
    ChunkResponse,
    ContentHeld,
    EpochEnds,
    EpochEndsRequest,
    Message,
    PieceRequest,
    PieceResponse,
    Snapshots,
    SnapshotsRequest,
    Status,
    StatusRequest,
    SyncRequest,
    SyncResponse,
    Transactions,
    Votes,
)
from node.primitives.crypto import PrivateKey
from node.proposal import BlockTree
from node.replication import OnPiece, Replication
from node.room import Room
from node.serving import Serving
from node.signer import Signer
from node.snapshot import settle_contents
from node.storage.blobs import BlobStore
from node.storage.blocks import BlockStore
from node.storage.kv import KeyValueStore
from node.storage.pieces import Partial
from node.storage.wal import WriteAheadLog
from node.sync import Fetcher
from node.types.block import Header
from node.types.content import ContentManifest
from node.types.genesis import Genesis
from node.types.validator import NodeEntry, node_id_of
from node.worker import Job

TICK_MS = 100
"""How often the host calls `tick`."""
STATUS_MS = 2_000
"""How often a node says where it stands."""
REPEAT_MS = 2_500
"""How often old transactions are looked for."""
REPEAT_AFTER_MS = 5_000
"""A transaction that waited this long is told again."""
SWEEP_MS = 60_000
"""How often unused contents are looked for."""
GAP_MS = 600_000
"""How long a transaction waits for the missing ones before it."""
MOST_EVIDENCE = 1_000
ANSWERED_FROM_DISK = (
    BlockRequest
    | SyncRequest
    | BlobRequest
    | PieceRequest
    | StatusRequest
    | SnapshotsRequest
    | ChunkRequest
    | EpochEndsRequest
)
"""What a paused node still does for others."""

log = structlog.get_logger(__name__)


class ReplicaHost(Host, Protocol):
    """What a replica needs of the world."""

    def peers(self) -> Sequence[bytes]:
        """Connected peers, in a stable order."""

    def verify_signatures(self, items: Sequence[Signed], on_done: Callable[[list[bool]], None]) -> None:
        """Verifies in bulk, off the event loop."""

    def compute(self, job: Job) -> None:
        """Runs the attribution engine in a worker."""

    def on_registry(self, registry: Registry) -> None:
        """The nodes that others accept connections from have changed."""

    def run_aside(self, work: Callable[[], None], on_done: Callable[[], None]) -> None:
        """Does something slow that touches the stores only, off the event loop."""

    def request_flush(self) -> None:
        """Something came in outside of the host's own turns: call `flush` soon."""

    def restart(self, why: str) -> None:
        """Stop in order and start again from the disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalBlock:
    """A block that became final, for whoever follows the chain."""

    executed: Executed
    """The block and what it did."""
    certificate: Certificate | None
    """Its own finalization, if it was finalised directly."""


class Replica:
    """One node of the network."""

    def __init__(
        self,
        *,
        genesis: Genesis,
        store: KeyValueStore,
        blob_store: KeyValueStore,
        wal: WriteAheadLog,
        consensus_key: PrivateKey | None,
        host: ReplicaHost,
        room: Room | None = None,
        load_fork: LoadFork | None = None,
        snapshots: SnapshotUse | None = None,
        workers: int = 1,
    ) -> None:
        """Without `room` the disk is taken to be large enough."""
        self.genesis = genesis
        self.genesis_hash = genesis.hash()
        self.host = host
        self._store = store
        self._wal = wal
        self._room = room
        self._audit: Audit | None = None
        self.audited_height = 0
        """The last epoch's end at which every OPEN was accounted for."""
        self.state = open_ledger(store, genesis, load_fork)
        self.blocks = BlockStore(store)
        self.blobs = BlobStore(blob_store, host.wall_ms())
        self._serving = Serving(self.blocks, None if snapshots is None else snapshots.shelf, host.send)
        self.mempool = Mempool()
        self.claims = Claims(self.blobs, host.compute)
        self.tree = BlockTree(self.state, self.blocks, self.claims, self.mempool.verified)
        self.intake = Intake(
            genesis_hash=self.genesis_hash,
            state=self.state,
            tree=self.tree,
            mempool=self.mempool,
            claims=self.claims,
            verify_signatures=host.verify_signatures,
            fetch_blobs=self.want_blobs,
            on_admitted=self._on_admitted,
            on_dropped=self._on_dropped,
            on_bad_signature=self._on_bad_signature,
            is_spread=self._is_spread,
            workers=workers,
        )
        self._block_fetcher: Fetcher[bytes] = Fetcher(self._ask_blocks, FETCH_TIMEOUT_MS, 1)
        self.replication = Replication(
            blobs=self.blobs,
            host=host,
            validators=self._validator_nodes,
            largest_size_bytes=lambda: GOVERNING.get(self.state).parameters.blob_size_bytes,
            on_arrived=self._on_blobs,
        )
        self._gossip = Gossip(host.broadcast, host.call_at)
        self._peer_of: dict[bytes, bytes] = {}
        self._status_ms = self._repeat_ms = self._sweep_ms = host.monotonic_ms()
        self.evidence: OrderedDict[tuple[bytes, int, int], Evidence] = OrderedDict()
        self.on_final_block: list[Callable[[FinalBlock], None]] = []
        """Who follows the chain."""
        self.on_transaction_dropped: list[Callable[[bytes, TransactionRejected], None]] = []
        """Who wants to know of transactions that left the mempool without a block, by id."""
        self.on_new_evidence: list[Callable[[Evidence], None]] = []
        """Who reports equivocations."""
        self._registry = REGISTRY.get(self.state)
        self._map_peers()
        if self.blobs.height + 1 < self.blocks.lowest_height:
            # What contents were used for is not in the blocks any more.
            settle_contents(store, self.blobs, self.tree.tip.height)
        self._keeper = Keeper(
            genesis_hash=self.genesis_hash,
            state=self.state,
            blocks=self.blocks,
            blobs=self.blobs,
            run_aside=host.run_aside,
        )
        self._keeper.catch_up(self.tree.tip.height, self.genesis.height)
        self.engine = Engine(
            genesis_hash=self.genesis_hash,
            signer=Signer(consensus_key, self.genesis_hash) if consensus_key is not None else None,
            governing=GOVERNING.get(self.state),
            final=self._last_final(),
            parent_view=self._parent_view(),
            tree=self.tree,
            mempool=self.mempool,
            claims=self.claims,
            wal=wal,
            host=host,
            ledger=self,
            may_be_early=lambda peer: any(
                node_id_of(each.node.certificate) == peer for each in self._registry.candidates
            ),
        )

        self._following = Following(
            genesis=genesis,
            store=store,
            tree=self.tree,
            engine=self.engine,
            host=host,
            snapshots=snapshots,
            powers=lambda: self._powers,
        )

    # Life.

    def start(self) -> None:
        """Begins to take part."""
        self.host.on_registry(self._registry)
        self.engine.start()
        self.flush()

    def flush(self) -> None:
        """The end of a turn: signatures to verification, votes to the log, messages to the peers."""
        self.intake.flush()
        self.engine.flush()
        self._gossip.flush(self.host.monotonic_ms())

    def tick(self) -> None:
        """What happens now and then; every TICK_MS."""
        if self._room is not None and self._room.look():
            self._on_room()
        now_ms, peers = self.host.monotonic_ms(), self.host.peers()
        if self.paused_for is not None:
            self._tell_status(now_ms)  # peers drop a node that says nothing
            return
        self._advance_audit()
        self._following.tick()
        self._block_fetcher.run(now_ms, peers)
        self.replication.run()
        self.intake.run_spreading(now_ms)
        if self._tell_status(now_ms) and self.replication.is_idle:
            self.replication.want(self.blobs.wanted()[:MOST_BLOBS_PER_MESSAGE], None)
        if now_ms - self._repeat_ms >= REPEAT_MS:
            self._repeat_ms = now_ms
            waiting = (each.candidate.data for each in self.mempool if now_ms - each.admitted_ms >= REPEAT_AFTER_MS)
            self._gossip.repeat(waiting)
        if now_ms - self._sweep_ms >= SWEEP_MS:
            self._sweep_ms = now_ms
            self._sweep(now_ms)
        self._keeper.purge()
        self.flush()

    # What people ask.

    @property
    def lag_heights(self) -> int:
        """How far the last final block that peers claim believably is above ours; negative when ours is the last."""
        return self._following.lag_heights

    @property
    def paused_for(self) -> str | None:
        """Why this node takes nothing in and signs nothing for now, and what to do; None when it takes part."""
        return self._room.lack if self._room is not None else None

    @property
    def log_size_bytes(self) -> int:
        """How large the write-ahead log is."""
        return self._wal.size_bytes

    def audit(self) -> Audit:
        """A walk over every holding of the final state."""
        return Audit(self._store, self.state)

    # What people send.

    def submit(self, data: bytes, on_done: OnDone) -> bytes:
        """Takes a transaction from the RPC; returns its id. Raises: TransactionRejected when refused at once."""
        if self.paused_for is not None:
            raise TransactionRejected(TransactionReason.NO_ROOM)
        transaction_id = self.intake.submit(data, None, self.host.monotonic_ms(), on_done)
        self.host.request_flush()
        return transaction_id

    def put_blobs(self, contents: Sequence[bytes]) -> tuple[bytes, ...]:
        """Takes contents from the RPC; returns their hashes. Raises: RequestRejected when there is no room."""
        if self.paused_for is not None:
            raise RequestRejected(RequestReason.NO_ROOM)
        hashes = self.blobs.put(contents, self.host.wall_ms())
        self._on_blobs(hashes)
        self.host.request_flush()
        return hashes

    def begin_upload(self, manifest: ContentManifest, address: str) -> Partial | None:
        """A client is going to bring a large content; None when it is here. Raises: RequestRejected."""
        if self.paused_for is not None:
            raise RequestRejected(RequestReason.NO_ROOM)
        return self.replication.begin_upload(manifest, address)

    def put_piece(self, partial: Partial, index: int, data: bytes, on_done: OnPiece) -> None:
        """Takes a piece from the RPC; `on_done` is called once it is on the disk. Raises: RequestRejected."""
        if self.paused_for is not None:
            raise RequestRejected(RequestReason.NO_ROOM)
        self.replication.put_piece(partial, index, data, on_done)

    # What peers do.

    def on_connected(self, peer: bytes) -> None:
        """A peer is there."""
        self.host.send(peer, self._status())
        self.engine.feed(on.PeerConnected(peer=peer))

    def on_disconnected(self, peer: bytes) -> None:
        """A peer is gone."""
        self._following.on_disconnected(peer)

    def on_message(self, peer: bytes, message: Message) -> None:
        """A peer's message. Raises: MessageRejected when it must not have been sent."""
        if self.paused_for is not None and not isinstance(message, ANSWERED_FROM_DISK):
            return
        match message:
            case Votes():
                self.engine.on_votes(peer, message)
                self._notice_epoch(peer, message.votes[0].statement.epoch)
            case Certificates():
                self.engine.on_certificates(peer, message)
                self._notice_epoch(peer, message.certificates[0].statement.epoch)
            case BlockProposal():
                self.engine.on_proposal(peer, message)
            case Transactions():
                self._on_transactions(peer, message)
            case CertificateRequest():
                self.engine.on_certificate_request(peer, message)
            case BlockRequest(block_id=block_id):
                block = self.tree.body(block_id)
                if block is not None:
                    self.host.send(peer, BlockResponse(block=block))
            case BlockResponse(block=block):
                self._on_block(peer, block.header.id(), message)
            case SyncRequest() | SnapshotsRequest() | ChunkRequest() | EpochEndsRequest():
                self._serving.on_request(peer, message, self.tree.tip.height)
            case SyncResponse() | BlocksPruned() | Snapshots() | ChunkResponse() | EpochEnds():
                self._following.on_answer(peer, message)
            case BlobRequest() | BlobResponse() | ContentHeld() | PieceRequest() | PieceResponse():
                self.replication.on_message(peer, message)
            case StatusRequest():
                self.host.send(peer, self._status())
            case Status():
                self._on_status(peer, message)
            case _:
                assert_never(message)

    # What the engine says (node.engine.Ledger).

    def on_final(self, executed: Executed, certificate: Certificate | None) -> None:
        """A block is final: everything that follows from it outside of consensus."""
        header = executed.block.header
        self._following.on_final()
        self._block_fetcher.got(executed.block_id)
        for candidate, reason in self.mempool.on_final(executed.candidates, header.height, self._account):
            self._on_dropped(candidate, TransactionRejected(reason))
        missing, erased = self._keeper.on_final(header.height, zip(executed.candidates, executed.receipts, strict=True))
        self.replication.want(missing, None)
        for content in erased:
            self.replication.forget(content)
        self.intake.on_final(self.host.monotonic_ms())
        registry = REGISTRY.get(self.state)
        if registry != self._registry:
            self._registry = registry
            self.host.on_registry(registry)
            self._map_peers()
        if executed.is_epoch_end:
            self._map_peers()
            self._audit = Audit(self._store, self.state)
        for follow in self.on_final_block:
            follow(FinalBlock(executed=executed, certificate=certificate))

    def on_evidence(self, evidence: Evidence) -> None:
        """A validator equivocated: kept, and told to whoever reports it."""
        statement = evidence.first.statement
        key = (evidence.first.validator, statement.epoch, statement.view)
        if key not in self.evidence:
            self.evidence[key] = evidence
            if len(self.evidence) > MOST_EVIDENCE:
                self.evidence.popitem(last=False)
            for report in self.on_new_evidence:
                report(evidence)

    def want_block(self, block_id: bytes, first_peer: bytes | None) -> None:
        """A block's body is missing."""
        self._block_fetcher.want((block_id,), first_peer)
        self._block_fetcher.run(self.host.monotonic_ms(), self.host.peers())

    def want_blobs(
        self, hashes: Sequence[bytes], first_peer: bytes | None, sizes: Mapping[bytes, int] | None = None
    ) -> None:
        """Contents are missing; `sizes` are what a transaction says about them."""
        self.replication.want(hashes, first_peer, sizes)
        self.replication.run()

    def node_of(self, validator: bytes) -> bytes | None:
        """The node a validator runs on."""
        return self._peer_of.get(validator)

    def peer_of(self, validator: bytes) -> bytes | None:
        """The connected node a validator runs on."""
        peer = self._peer_of.get(validator)
        return peer if peer in self.host.peers() else None

    def on_work_rejected(self, candidate: Candidate, error: TransactionRejected) -> None:
        """A waiting transaction cannot stand in a block now."""
        gone = self.mempool.remove(candidate.id)
        if error.reason is TransactionReason.CLAIM_PENDING:
            # What it needs is not here any more: it comes in again like a new one, and what its sender sent after it.
            for each in gone:
                self.intake.readmit(each, self.host.monotonic_ms())
            return
        for each in gone:
            after = TransactionRejected(TransactionReason.NONCE_TOO_HIGH, "an earlier one was dropped")
            self._on_dropped(each, error if each is candidate else after)

    # Transactions.

    def _on_transactions(self, peer: bytes, message: Transactions) -> None:
        now_ms = self.host.monotonic_ms()
        for data in message.transactions:
            try:
                self.intake.submit(data, peer, now_ms)
            except TransactionRejected as error:
                # A peer's view of the chain may be a block behind or ahead of ours: no fault of it.
                log.debug("gossip_refused", reason=error.reason.value)

    def _on_admitted(self, candidate: Candidate, source: bytes | None) -> None:
        if source is None:
            self._gossip.tell(candidate.data)
        self.engine.on_work(candidate.id)

    def _on_bad_signature(self, peer: bytes) -> None:
        """No honest node passes on what it has not verified."""
        self.host.penalize(peer, MessageRejected(MessageReason.BAD_SIGNATURE, "a transaction"))

    def _account(self, address: bytes) -> tuple[int, int]:
        account = load_account(self.state, address)
        return account.nonce, account.balance_units

    def _on_dropped(self, candidate: Candidate, error: TransactionRejected) -> None:
        for tell in self.on_transaction_dropped:
            tell(candidate.id, error)

    # Contents.

    def _sweep(self, now_ms: int) -> None:
        """Lets go of what nothing refers to, and of transactions whose predecessors never came."""
        for candidate in self.mempool.remove_gapped(now_ms - GAP_MS):
            late = TransactionRejected(TransactionReason.NONCE_TOO_HIGH, "the ones before it never came")
            self._on_dropped(candidate, late)
        waiting = chain((each.candidate for each in self.mempool), self.intake.arriving())
        self._keeper.sweep(self.host.wall_ms(), waiting)
        self.replication.sweep(self.host.wall_ms() - UNUSED_BLOB_MS)

    def _is_spread(self, candidate: Candidate) -> bool:
        names = [each.hash for each in candidate.kind.blobs(candidate.payload)]
        own = self._peer_of.get(self.engine.core.me or b"", b"")
        return self.replication.is_spread(names, own, self._powers.of_peer, self._powers.total)

    def _on_blobs(self, hashes: Sequence[bytes]) -> None:
        self.intake.on_blobs(hashes, self.host.monotonic_ms())
        self.engine.on_arrival()
        self.host.request_flush()

    # Blocks.

    def _on_block(self, peer: bytes, block_id: bytes, message: BlockResponse) -> None:
        if not self._block_fetcher.was_asked(block_id, peer):
            return
        if message.block.transactions_root() != message.block.header.transactions_root:
            self._block_fetcher.retry(block_id)
            raise MessageRejected(MessageReason.MALFORMED, "the body is not the header's")
        self._block_fetcher.got(block_id)
        self.engine.add_block(message.block, block_id)
        self.engine.on_arrival()

    def _notice_epoch(self, peer: bytes, epoch: int) -> None:
        if epoch > self.engine.core.epoch and not self._following.knows(peer):
            self.host.send(peer, StatusRequest())

    # Status.

    def _tell_status(self, now_ms: int) -> bool:
        """Says where this node stands if it is time to; returns whether it was."""
        if now_ms - self._status_ms < STATUS_MS:
            return False
        self._status_ms = now_ms
        self.host.broadcast(self._status())
        return True

    def _status(self) -> Status:
        entering = self.engine.core.entering_certificate
        return Status(
            height=self.tree.tip.height,
            epoch=self.engine.core.epoch,
            view=self.engine.core.view,
            entered_by=() if entering is None else (entering,),
        )

    def _on_status(self, peer: bytes, status: Status) -> None:
        self._following.on_height(peer, status.height)
        if not self.engine.core.is_recovering or status.epoch != self.engine.core.epoch:
            return
        validator = next((each for each, known in self._peer_of.items() if known == peer), None)
        entered = status.entered_by[0] if status.entered_by else None
        is_proven = status.view == 1 or (
            entered is not None
            and entered.statement.view == status.view - 1
            and self.engine.is_valid_certificate(entered)
        )
        if validator is not None and is_proven:
            self.engine.feed(on.StatusReceived(validator=validator, epoch=status.epoch, view=status.view))

    # Room on the disk.

    def _on_room(self) -> None:
        """The disk is nearly full, or has room again."""
        if self.paused_for is not None:
            self.flush()  # what was signed becomes durable and leaves: the reserve is for that
            self.engine.pause()
        else:
            self.engine.resume()
            self.host.broadcast(StatusRequest())

    # Helpers.

    def _advance_audit(self) -> None:
        audit = self._audit
        if audit is None or not audit.advance():
            return
        self._audit = None
        error = audit.error()
        if error is not None:
            self.host.stop(f"the ledger of height {audit.height} does not add up: {error}")
            return
        self.audited_height = audit.height

    def _ask_blocks(self, peer: bytes, block_ids: Sequence[bytes]) -> None:
        for block_id in block_ids:
            self.host.send(peer, BlockRequest(block_id=block_id))

    def _validator_nodes(self) -> Collection[bytes]:
        return self._peer_of.values()

    def _map_peers(self) -> None:
        """Which node each current validator runs on."""
        nodes: dict[bytes, NodeEntry] = {each.operator: each.node for each in self._registry.candidates}
        # A removed validator votes until the epoch ends, and needs what the others need for it.
        earlier = self._peer_of
        self._peer_of = {
            each.id: node_id_of(nodes[each.operator].certificate) if each.operator in nodes else earlier[each.id]
            for each in GOVERNING.get(self.state).validators.validators
            if each.operator in nodes or each.id in earlier
        }
        of_peer: Counter[bytes] = Counter()
        for validator in GOVERNING.get(self.state).validators.validators:
            of_peer[self._peer_of.get(validator.id, b"")] += validator.power
        self._powers = Powers(of_peer=of_peer, total=of_peer.total())

    def _last_final(self) -> Final:
        """The highest directly finalised block of the current epoch; the epoch's start when there is none."""
        governing = GOVERNING.get(self.state)
        height = self.tree.tip.height
        while height >= governing.first_height:
            certificate = self.blocks.certificate(height)
            if certificate is not None:
                return Final(view=certificate.statement.view, block_id=certificate.statement.block_id)
            height -= 1
        return Final(view=0, block_id=self._epoch_parent().id())

    def _parent_view(self) -> int:
        """The view in which the last block of the epoch before was first proposed."""
        return self._epoch_parent().view

    def _epoch_parent(self) -> Header:
        """The last block of the epoch before; its body may be pruned, what ended the epoch is not."""
        governing = GOVERNING.get(self.state)
        end = self.blocks.epoch_end(governing.epoch - 1)
        header = end.header if end is not None else self.blocks.header(governing.first_height - 1)
        assert header is not None, "an epoch starts on a final block"
        return header
