"""The JSON-RPC methods, and a row for each in `METHODS`. Names are CometBFT's where the meaning is the same."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from attribution.request import TABLES_HASHES
from node.api import present, requests, views, views_chain, views_consensus
from node.api.consensus_state import consensus_state
from node.api.history import StoredBlock
from node.api.light import light_block, light_genesis
from node.api.live import Session
from node.api.rpc import Later, Method, TransactionLate, TransactionRefused
from node.api.source import Source
from node.api.tables import TABLES
from node.api.uploads import begin_upload, put_blobs, put_piece, upload_status
from node.api.views_light import LightBlockView, LightGenesisView
from node.errors import RequestReason, RequestRejected, TransactionRejected
from node.execution.block import block_context
from node.execution.transaction import context_for, read_transaction, required_fee
from node.modules.accounts import is_key_of, load_account
from node.modules.contents import is_erased
from node.modules.datanets import DATANETS, RECORDS, RecordStatus
from node.modules.engines import ENGINES, lacking
from node.modules.registers import REGISTERS, register_key
from node.modules.validators import GOVERNING, REGISTRY, UPCOMING, validator_set_of
from node.primitives.address import parse_address
from node.primitives.codec import decode, encode
from node.primitives.crypto import Tag, is_valid_signature, signing_digest
from node.primitives.plain import to_plain
from node.types.block import PROTOCOL_VERSION
from node.types.parameters import Parameters
from node.types.transaction import Transaction
from node.types.validator import node_id_of

READ_PROOF_HEIGHTS = 100
"""How old a reviewer's signature for a content under review may be."""

# The node.


def health(source: Source, _: requests.NoParameters) -> views.HealthView:
    """Whether the node does its work."""
    return present.health(source.problems())


def status(source: Source, _: requests.NoParameters) -> views.StatusView:
    """The node at a glance."""
    replica, core = source.replica, source.replica.engine.core
    own = None
    if core.me is not None:
        member = GOVERNING.get(replica.state).validators.by_id().get(core.me)
        own = views.OwnValidator(
            id=core.me.hex(),
            operator="" if member is None else present.format_address(member.operator),
            power=0 if member is None else member.power,
        )
    return views.StatusView(
        node=views.NodeView(
            id=source.peers.id.hex(),
            name=source.name,
            version=source.version,
            protocol_version=PROTOCOL_VERSION,
            chain_name=replica.genesis.chain_name,
            genesis_hash=replica.genesis_hash.hex(),
            has_index=source.has_index,
        ),
        sync=views.SyncView(
            latest_height=source.tip_height,
            latest_block_id=replica.tree.tip_id.hex(),
            latest_state_root=replica.state.root.hex(),
            latest_time_ms=replica.tree.tip.time_ms,
            epoch=core.epoch,
            view=core.view,
            catching_up=source.is_catching_up,
            seconds_since_final=round(source.seconds_since_final(), 3),
            index_height=source.index_height,
        ),
        validator=own,
    )


async def genesis(source: Source, _: requests.NoParameters) -> views.GenesisView:
    """The first state."""
    shown = await source.history.off_loop(lambda: to_plain(source.replica.genesis))
    return views.GenesisView(hash=source.replica.genesis_hash.hex(), genesis=shown)


def net_info(source: Source, _: requests.NoParameters) -> views.NetworkView:
    """The registered nodes, and who is connected."""
    connected = set(source.peers.peers())
    nodes = [
        (node_id_of(node.certificate), node.name, node.endpoint) for node in REGISTRY.get(source.replica.state).nodes()
    ]
    return views.NetworkView(
        peer_count=len(connected),
        nodes=[
            views.PeerView(
                id=node_id.hex(),
                name=name,
                endpoint=endpoint,
                is_connected=node_id in connected,
                is_self=node_id == source.peers.id,
            )
            for node_id, name, endpoint in nodes
        ],
    )


def evidence(source: Source, _: requests.NoParameters) -> views_chain.EvidenceList:
    """Equivocations this node saw."""
    return views_chain.EvidenceList(evidence=[present.evidence(each) for each in source.replica.evidence.values()])


# Blocks.


async def block(source: Source, parameters: requests.BlockParameters) -> views_chain.BlockView:
    """A final block."""
    return present.block(await stored_block(source, parameters.height, parameters.id))


async def block_results(source: Source, parameters: requests.BlockParameters) -> views_chain.BlockResults:
    """What a block's transactions did."""
    stored = await stored_block(source, parameters.height, parameters.id)
    return await source.history.off_loop(lambda: present.block_results(stored))


async def blockchain(source: Source, parameters: requests.RangeParameters) -> views_chain.HeaderRange:
    """Headers of consecutive blocks, newest first."""
    tip = source.tip_height
    highest = tip if parameters.max_height is None else min(parameters.max_height, tip)
    lowest = max(source.lowest_height, highest - requests.MOST_HEADERS + 1)
    if parameters.min_height is not None:
        source.require_kept(max(parameters.min_height, highest - requests.MOST_HEADERS + 1))
        lowest = max(lowest, parameters.min_height)
    found = [await stored_block(source, height, None) for height in range(highest, lowest - 1, -1)]
    return views_chain.HeaderRange(
        last_height=tip, headers=[present.header(each.header, each.block_id) for each in found]
    )


async def commit(source: Source, parameters: requests.BlockParameters) -> views_chain.CommitView:
    """A header and why it is final."""
    stored = await stored_block(source, parameters.height, parameters.id)
    height = stored.header.height
    is_genesis = height == source.replica.genesis.height
    proof = None if is_genesis else await source.history.off_loop(lambda: source.replica.blocks.finality_proof(height))
    if not is_genesis and proof is None:
        source.require_kept(height)  # it may have gone meanwhile
        raise RequestRejected(RequestReason.NOT_FOUND, "no finalization is near enough above the block")
    return present.commit(stored.header, proof)


def validators(source: Source, parameters: requests.EpochParameters) -> views.ValidatorSetView:
    """Who votes in an epoch."""
    state = source.replica.state
    epoch = GOVERNING.get(state).epoch if parameters.epoch is None else parameters.epoch
    members = validator_set_of(state, epoch)
    if members is None:
        raise RequestRejected(RequestReason.NOT_FOUND, f"the set of epoch {epoch} is not known, or forgotten")
    return present.validator_set(state, epoch, members, *source.observed())


def engines(source: Source, _: requests.NoParameters) -> views.EnginesView:
    """Attribution engines, those that a vote activates later among them."""
    found = ENGINES.get(source.replica.state)
    return present.engines(source.tip_height, found, lacking(found, TABLES_HASHES))


def parameters_of(source: Source, _: requests.NoParameters) -> views.ParametersView:
    """What governs the current epoch, and the next one."""
    governing, upcoming = GOVERNING.get(source.replica.state), UPCOMING.get(source.replica.state)
    return views.ParametersView(
        epoch=governing.epoch,
        first_height=governing.first_height,
        last_height=governing.last_height,
        hash=governing.parameters.hash().hex(),
        parameters=present.plain(governing.parameters),
        next_parameters=present.plain(upcoming.parameters),
    )


# Transactions.


async def tx(source: Source, parameters: requests.TransactionParameters) -> views_chain.TransactionAnswer:
    """A final transaction and what it did."""
    found = source.index.find_transaction(bytes.fromhex(parameters.id))
    if found is None:
        raise RequestRejected(RequestReason.NOT_FOUND, "it is not final here: ask tx_status what became of it")
    stored, index = await stored_block(source, found[0], None), found[1]
    return await source.history.off_loop(lambda: _answer(stored, index, prove=parameters.prove))


def tx_status(source: Source, parameters: requests.TransactionIdParameters) -> views_chain.TransactionStatus:
    """What this node knows of a transaction."""
    transaction_id = bytes.fromhex(parameters.id)
    found = source.index.find_transaction(transaction_id) if source.has_index else None
    dropped = source.watch.dropped(transaction_id)
    if found is not None:
        word = "final"
    elif transaction_id in source.replica.mempool or source.watch.is_arriving(transaction_id):
        word = "pending"
    else:
        word = "unknown" if dropped is None else "dropped"
    return views_chain.TransactionStatus(
        id=parameters.id.lower(),
        status=word,
        height=found[0] if found is not None else None,
        index=found[1] if found is not None else None,
        reason=dropped.reason.value if dropped is not None and word == "dropped" else "",
        hint=dropped.message if dropped is not None and word == "dropped" else "",
    )


def unconfirmed_txs(source: Source, parameters: requests.PendingParameters) -> views_chain.UnconfirmedView:
    """What waits for a block, with the first of it."""
    return _unconfirmed(source, source.waiting(parameters.limit))


def num_unconfirmed_txs(source: Source, _: requests.NoParameters) -> views_chain.UnconfirmedView:
    """How much waits for a block."""
    return _unconfirmed(source, [])


def broadcast_tx_sync(source: Source, parameters: requests.BroadcastParameters) -> Later:
    """Takes a transaction in; answers once it is admitted or refused."""
    data = bytes_of(parameters.transaction)
    later = Later(None)

    def on_done(error: TransactionRejected | None) -> None:
        later.resolve(_admitted(transaction_id) if error is None else TransactionRefused(error, transaction_id))

    transaction_id = source.submit(data, on_done)
    later.stand_in = views_chain.Admission(transaction_id=transaction_id.hex(), status="checking")
    return later


async def broadcast_tx_commit(source: Source, parameters: requests.CommitParameters) -> views_chain.TransactionAnswer:
    """Takes a transaction in; answers once it is final."""
    transaction_id = source.submit(bytes_of(parameters.transaction), _nothing)
    final = source.watch.wait(transaction_id)
    try:
        async with asyncio.timeout(parameters.timeout_ms / 1000):
            outcome = await final
    except TimeoutError as late:
        raise TransactionLate(RequestReason.TIMEOUT, transaction_id) from late
    except RequestRejected as stopping:
        raise TransactionLate(stopping.reason, transaction_id) from stopping
    finally:
        source.watch.forget(transaction_id, final)
    if isinstance(outcome, TransactionRejected):
        raise TransactionRefused(outcome, transaction_id)
    height, index = outcome  # no index is asked: the node may keep none, or build it still
    stored = await stored_block(source, height, None)
    return await source.history.off_loop(lambda: _answer(stored, index, prove=False))


def fee(source: Source, parameters: requests.FeeParameters) -> views_chain.FeeView:
    """What a transaction pays at least."""
    replica = source.replica
    current = GOVERNING.get(replica.state).parameters
    if parameters.transaction is not None:
        candidate = read_transaction(bytes_of(parameters.transaction), replica.genesis_hash)
        context = block_context(replica.state, replica.genesis_hash, source.next_height, replica.tree.tip_id)
        work_macs = candidate.kind.meter(replica.state, context_for(context, candidate, 0), candidate.payload)
        units, size_bytes = _own_fee(current, candidate.transaction, work_macs)
    elif parameters.size_bytes is not None:
        size_bytes, work_macs = parameters.size_bytes, parameters.work_macs
        units = required_fee(current, size_bytes, work_macs)
    else:
        raise RequestRejected(RequestReason.INVALID_PARAMETER, "give the transaction, or its size_bytes and work_macs")
    return views_chain.FeeView(fee_units=str(units), size_bytes=size_bytes, work_macs=work_macs)


# State and contents.


def query(source: Source, parameters: requests.QueryParameters) -> views_chain.QueryAnswer:
    """A value of the state with its proof under the last final header."""
    replica = source.replica
    table = TABLES.get(parameters.table)
    if table is None:
        raise RequestRejected(RequestReason.INVALID_PARAMETER, f"the tables are {', '.join(TABLES)}")
    if parameters.height is not None and parameters.height != source.tip_height:
        raise RequestRejected(RequestReason.PRUNED, f"the last final block is {source.tip_height}")
    is_address = parameters.key.startswith("open1")
    key = address_of(parameters.key) if is_address else bytes_of(parameters.key, "key")
    state_key = table.key(key)
    data = replica.state.read_bytes(state_key)  # not through the state's cache: it is the node's, not the askers'
    proof = replica.state.prove(state_key)
    return views_chain.QueryAnswer(
        table=parameters.table,
        key=key.hex(),
        value=None if data is None else data.hex(),
        decoded=None if data is None else present.plain(decode(table.value_class, data)),
        header=present.header(replica.tree.tip, replica.tree.tip_id),
        proof=views_chain.StateProofView(key=state_key.hex(), nodes=[node.hex() for node in proof.nodes]),
    )


def account(source: Source, parameters: requests.AccountParameters) -> views.AccountView:
    """An account, with the nonce to send next."""
    replica = source.replica
    return present.account(replica.state, address_of(parameters.address), replica.mempool.next_nonce)


def register(source: Source, parameters: requests.RegisterParameters) -> views.RegisterView:
    """A compare-and-set register in the last final state."""
    owner = address_of(parameters.owner)
    found = REGISTERS.get(source.replica.state, register_key(owner, parameters.name))
    if found is None:
        raise RequestRejected(RequestReason.NOT_FOUND, f"{parameters.owner} has no register {parameters.name}")
    return present.register(source.tip_height, owner, parameters.name, found)


def get_blob(source: Source, parameters: requests.ContentParameters) -> views.BlobView:
    """A content's bytes."""
    content_hash = bytes.fromhex(parameters.hash)
    size_bytes = readable_size_bytes(source, content_hash, parameters)
    if parameters.offset_bytes is None and size_bytes > requests.LARGEST_READ_SIZE_BYTES:
        path = f"{requests.BASE}/contents/{parameters.hash.lower()}"
        detail = f"it has {size_bytes} bytes: read it in parts from offset_bytes on, or GET {path} with Range"
        raise RequestRejected(RequestReason.TOO_LARGE, detail)
    offset = parameters.offset_bytes or 0
    part = b"".join(source.replica.blobs.read(content_hash, offset, offset + requests.LARGEST_READ_SIZE_BYTES))
    return views.BlobView(
        hash=parameters.hash.lower(),
        size_bytes=size_bytes,
        content=base64.b64encode(part).decode(),
        offset_bytes=offset,
    )


# Over the WebSocket only.


def subscribe(source: Source, session: Session, parameters: requests.SubscribeParameters) -> views.SubscriptionView:
    """Begins to tell of final blocks, transactions or payments."""
    address = None if parameters.address is None else address_of(parameters.address)
    from_height = parameters.from_height
    if from_height is not None:  # a chain that continues another one has no blocks of it
        from_height = max(from_height, source.replica.genesis.height)
    subscription = source.hub.subscribe(session, parameters.topic, address, from_height)
    return views.SubscriptionView(subscription=subscription)


def unsubscribe(source: Source, session: Session, parameters: requests.UnsubscribeParameters) -> views.SubscriptionView:
    """Ends a subscription."""
    source.hub.unsubscribe(session, parameters.subscription)
    return views.SubscriptionView(subscription=parameters.subscription)


# Helpers, for the explorer too.


async def stored_block(source: Source, height: int | None, block_id: str | None) -> StoredBlock:
    """A final block by height or id; the last one without.

    Raises: RequestRejected NOT_FOUND, PRUNED, INVALID_PARAMETER.
    """
    if block_id is not None:
        if height is not None:
            raise RequestRejected(RequestReason.INVALID_PARAMETER, "give a height or an id, not both")
        height = source.replica.blocks.height_of(bytes.fromhex(block_id))
        if height is None:
            raise RequestRejected(RequestReason.NOT_FOUND, "no final block has this id")
    height = source.tip_height if height is None else height
    source.require_kept(height)  # the cache may know it longer than the store
    stored = await source.history.at(height) if height <= source.tip_height else None
    if stored is None:
        source.require_kept(height)
        raise RequestRejected(RequestReason.NOT_FOUND, f"the last final block is {source.tip_height}")
    return stored


def address_of(text: str) -> bytes:
    """The bytes of an address. Raises: RequestRejected INVALID_PARAMETER."""
    try:
        return parse_address(text)
    except ValueError as error:
        raise RequestRejected(RequestReason.INVALID_PARAMETER, str(error)) from error


def bytes_of(text: str, name: str = "transaction") -> bytes:
    """The bytes of a hexadecimal text. Raises: RequestRejected INVALID_PARAMETER."""
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise RequestRejected(RequestReason.INVALID_PARAMETER, f"{name} is hexadecimal") from error


def readable_size_bytes(source: Source, content_hash: bytes, proof: requests.ContentParameters | None = None) -> int:
    """How many bytes a content has that may be read. Raises: RequestRejected ERASED, NOT_FOUND, NOT_PERMITTED."""
    if is_erased(source.replica.state, content_hash):
        raise RequestRejected(RequestReason.ERASED)
    size_bytes = source.replica.blobs.size_bytes(content_hash)
    if size_bytes is None:
        raise RequestRejected(RequestReason.NOT_FOUND, "this node does not hold the content")
    if not source.replica.blobs.is_public(content_hash) and not (
        proof is not None and _is_reviewer(source, content_hash, proof)
    ):
        raise RequestRejected(RequestReason.NOT_PERMITTED)
    return size_bytes


def _is_reviewer(source: Source, content_hash: bytes, proof: requests.ContentParameters) -> bool:
    """Whether somebody who reviews the content's datanet asks for it, and asks lately."""
    if (
        proof.datanet is None
        or proof.reviewer is None
        or proof.public_key is None
        or proof.height is None
        or proof.signature is None
    ):
        return False
    state, tip_height = source.replica.state, source.tip_height
    if not tip_height - READ_PROOF_HEIGHTS <= proof.height <= tip_height:
        return False
    datanet_id, reviewer = bytes.fromhex(proof.datanet), address_of(proof.reviewer)
    datanet = DATANETS.get(state, datanet_id)
    if datanet is None or reviewer not in datanet.reviewers:
        return False
    record = RECORDS.get(state, datanet.schema_id + content_hash)
    if record is None or record.datanet != datanet_id or record.status is not RecordStatus.PENDING:
        return False
    public_key = bytes.fromhex(proof.public_key)
    message = content_hash + reviewer + proof.height.to_bytes(8, "big")
    digest = signing_digest(Tag.READ_CONTENT, source.replica.genesis_hash, message)
    is_signed = is_valid_signature(public_key, digest, bytes.fromhex(proof.signature))
    return is_signed and is_key_of(load_account(state, reviewer), reviewer, public_key)


def _unconfirmed(source: Source, shown: list[views_chain.PendingTransaction]) -> views_chain.UnconfirmedView:
    mempool = source.replica.mempool
    return views_chain.UnconfirmedView(
        total=len(mempool),
        ready=mempool.ready_count,
        arriving=source.replica.intake.waiting_count,
        size_bytes=mempool.size_bytes,
        transactions=shown,
    )


def _own_fee(parameters: Parameters, transaction: Transaction, work_macs: int) -> tuple[int, int]:
    """What a transaction that pays just this must pay, and its size then: the fee's own bytes count."""
    units = 0
    while True:
        size_bytes = len(encode(replace(transaction, fee_units=units)))
        needed_units = required_fee(parameters, size_bytes, work_macs)
        if needed_units <= units:
            return units, size_bytes
        units = needed_units


def _admitted(transaction_id: bytes) -> views_chain.Admission:
    return views_chain.Admission(transaction_id=transaction_id.hex(), status="admitted")


def _answer(stored: StoredBlock, index: int, *, prove: bool) -> views_chain.TransactionAnswer:
    """An attribution has a thousand events: this may take a tenth of a second."""
    proof = present.transaction_proof(stored, index) if prove else None
    return views_chain.TransactionAnswer(transaction=present.transaction(stored, index), proof=proof)


def _one(_: Any) -> int:
    return 1


def _nothing(_: object) -> None:
    return


METHODS: Sequence[Method] = (
    Method(name="health", parameters=requests.NoParameters, result=views.HealthView, run=health),
    Method(name="status", parameters=requests.NoParameters, result=views.StatusView, run=status),
    Method(name="genesis", parameters=requests.NoParameters, result=views.GenesisView, run=genesis),
    Method(name="net_info", parameters=requests.NoParameters, result=views.NetworkView, run=net_info),
    Method(
        name="consensus_state",
        parameters=requests.NoParameters,
        result=views_consensus.ConsensusStateView,
        run=consensus_state,
    ),
    Method(name="evidence", parameters=requests.NoParameters, result=views_chain.EvidenceList, run=evidence),
    Method(name="block", parameters=requests.BlockParameters, result=views_chain.BlockView, run=block),
    Method(
        name="block_results", parameters=requests.BlockParameters, result=views_chain.BlockResults, run=block_results
    ),
    Method(name="blockchain", parameters=requests.RangeParameters, result=views_chain.HeaderRange, run=blockchain),
    Method(name="commit", parameters=requests.BlockParameters, result=views_chain.CommitView, run=commit),
    Method(name="light_genesis", parameters=requests.NoParameters, result=LightGenesisView, run=light_genesis),
    Method(name="light_block", parameters=requests.LightBlockParameters, result=LightBlockView, run=light_block),
    Method(name="validators", parameters=requests.EpochParameters, result=views.ValidatorSetView, run=validators),
    Method(name="engines", parameters=requests.NoParameters, result=views.EnginesView, run=engines),
    Method(name="parameters", parameters=requests.NoParameters, result=views.ParametersView, run=parameters_of),
    Method(name="tx", parameters=requests.TransactionParameters, result=views_chain.TransactionAnswer, run=tx),
    Method(
        name="tx_status",
        parameters=requests.TransactionIdParameters,
        result=views_chain.TransactionStatus,
        run=tx_status,
    ),
    Method(
        name="unconfirmed_txs",
        parameters=requests.PendingParameters,
        result=views_chain.UnconfirmedView,
        run=unconfirmed_txs,
    ),
    Method(
        name="num_unconfirmed_txs",
        parameters=requests.NoParameters,
        result=views_chain.UnconfirmedView,
        run=num_unconfirmed_txs,
    ),
    Method(
        name="broadcast_tx_sync",
        parameters=requests.BroadcastParameters,
        result=views_chain.Admission,
        run=broadcast_tx_sync,
        cost=_one,
    ),
    Method(
        name="broadcast_tx_commit",
        parameters=requests.CommitParameters,
        result=views_chain.TransactionAnswer,
        run=broadcast_tx_commit,
        cost=_one,
    ),
    Method(name="fee", parameters=requests.FeeParameters, result=views_chain.FeeView, run=fee),
    Method(name="query", parameters=requests.QueryParameters, result=views_chain.QueryAnswer, run=query),
    Method(name="account", parameters=requests.AccountParameters, result=views.AccountView, run=account),
    Method(name="register", parameters=requests.RegisterParameters, result=views.RegisterView, run=register),
    Method(
        name="put_blobs",
        parameters=requests.UploadParameters,
        result=views.BlobHashes,
        run=put_blobs,
        cost=lambda parameters: len(parameters.contents),
    ),
    Method(
        name="begin_upload",
        parameters=requests.BeginUploadParameters,
        result=views.UploadView,
        run_for=begin_upload,
        cost=_one,
    ),
    Method(name="put_piece", parameters=requests.PieceParameters, result=views.UploadView, run=put_piece, cost=_one),
    Method(
        name="upload_status",
        parameters=requests.UploadStatusParameters,
        result=views.UploadView,
        run=upload_status,
    ),
    Method(name="get_blob", parameters=requests.ContentParameters, result=views.BlobView, run=get_blob),
    Method(
        name="subscribe",
        parameters=requests.SubscribeParameters,
        result=views.SubscriptionView,
        run_in_session=subscribe,
    ),
    Method(
        name="unsubscribe",
        parameters=requests.UnsubscribeParameters,
        result=views.SubscriptionView,
        run_in_session=unsubscribe,
    ),
)
"""Every method."""
