"""What light clients ask: a final header with its certificate, and the validators it hands over to."""

from __future__ import annotations

from node.api import requests
from node.api.source import Source
from node.api.views_light import HandoverView, LightBlockView, LightGenesisView
from node.errors import RequestReason, RequestRejected
from node.modules.validators import GOVERNING
from node.primitives.codec import encode
from node.types.block import FinalityProof, Header
from node.types.epoch import EpochEnd


async def light_genesis(source: Source, _: requests.NoParameters) -> LightGenesisView:
    """The first state, as bytes."""
    encoded = await source.history.off_loop(lambda: encode(source.replica.genesis).hex())
    return LightGenesisView(hash=source.replica.genesis_hash.hex(), encoded=encoded)


async def light_block(source: Source, parameters: requests.LightBlockParameters) -> LightBlockView:
    """A final block's header with the proof of its finality: at a height, an epoch's last one, or the newest."""
    if parameters.epoch is not None:
        if parameters.height is not None:
            raise RequestRejected(RequestReason.INVALID_PARAMETER, "give a height or an epoch, not both")
        handover = source.replica.blocks.epoch_end(parameters.epoch)
        if handover is None:
            raise RequestRejected(RequestReason.NOT_FOUND, _why_no_end(source, parameters.epoch))
        return _view(source, handover.header, _own(handover), handover)
    height = source.tip_height if parameters.height is None else parameters.height
    if not 1 <= height <= source.tip_height:
        raise RequestRejected(RequestReason.NOT_FOUND, f"final blocks with a proof are 1 to {source.tip_height}")
    source.require_kept(height)  # the cache may know it longer than the store
    stored = await source.history.at(height)
    if stored is None:
        raise RequestRejected(RequestReason.NOT_FOUND, f"this node does not keep block {height}: ask another one")
    handover = source.replica.blocks.epoch_end(stored.header.epoch)
    if handover is not None and handover.header.height == height:
        return _view(source, stored.header, _own(handover), handover)
    proof = await source.history.off_loop(lambda: source.replica.blocks.finality_proof(height))
    if proof is None:
        source.require_kept(height)  # it may have gone meanwhile
        raise RequestRejected(RequestReason.NOT_FOUND, "no finalization is near enough above the block")
    return _view(source, stored.header, proof, None)


def _why_no_end(source: Source, epoch: int) -> str:
    current = GOVERNING.get(source.replica.state).epoch
    if epoch >= current:
        return f"epoch {epoch} has not ended: the chain is in epoch {current}"
    return f"this node did not execute epoch {epoch} itself: ask another one, or start at a later block"


def _own(handover: EpochEnd) -> FinalityProof:
    return FinalityProof(headers=(), certificate=handover.certificate)


def _view(source: Source, header: Header, proof: FinalityProof, handover: EpochEnd | None) -> LightBlockView:
    before = source.replica.blocks.epoch_end(header.epoch - 1)
    shown = None
    if handover is not None:
        nodes = [node.hex() for node in handover.proof_nodes]
        shown = HandoverView(governing=handover.governing.hex(), nodes=nodes)
    return LightBlockView(
        height=header.height,
        epoch=header.epoch,
        id=header.id().hex(),
        header=encode(header).hex(),
        finality=encode(proof).hex(),
        handover=shown,
        epoch_end_height=None if before is None else before.header.height,
    )
