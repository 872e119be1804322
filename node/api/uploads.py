"""The methods that take contents: small ones at once, large ones piece by piece."""

from __future__ import annotations

import base64
import binascii

from node.api import requests, views
from node.api.source import Source
from node.errors import RequestReason, RequestRejected
from node.modules.validators import GOVERNING
from node.storage.blobs import LARGEST_UNREFERENCED_SIZE_BYTES
from node.storage.pieces import Partial
from node.types.content import PIECE_SIZE_BYTES, ContentManifest


def put_blobs(source: Source, parameters: requests.UploadParameters) -> views.BlobHashes:
    """Takes contents that a transaction will refer to."""
    contents = [
        _content(parameters.encoding, f"contents[{index}]", text) for index, text in enumerate(parameters.contents)
    ]
    limit = GOVERNING.get(source.replica.state).parameters.blob_size_bytes
    for index, content in enumerate(contents):
        if not 1 <= len(content) <= limit:
            raise RequestRejected(RequestReason.TOO_LARGE, f"contents[{index}] has 1 to {limit} bytes")
    unused_size_bytes = source.replica.blobs.unreferenced_size_bytes + sum(map(len, contents))
    if unused_size_bytes > LARGEST_UNREFERENCED_SIZE_BYTES:
        raise RequestRejected(RequestReason.TOO_LARGE, "too many contents wait for a transaction: try again later")
    return views.BlobHashes(hashes=[each.hex() for each in source.put_blobs(contents)])


def begin_upload(source: Source, address: str, parameters: requests.BeginUploadParameters) -> views.UploadView:
    """Begins to take a content of more than 1 MiB piece by piece, or goes on with it: says which are missing."""
    manifest = ContentManifest(
        content=bytes.fromhex(parameters.hash),
        size_bytes=parameters.size_bytes,
        pieces=tuple(map(bytes.fromhex, parameters.pieces)),
    )
    return _upload(source, manifest, manifest.id(), source.begin_upload(manifest, address))


async def put_piece(source: Source, parameters: requests.PieceParameters) -> views.UploadView:
    """Takes a piece; the same again changes nothing. After the last one the whole is checked."""
    partial = source.replica.blobs.pieces.partials.get(bytes.fromhex(parameters.id))
    if partial is None:
        raise RequestRejected(RequestReason.NOT_FOUND, "no such upload is under way: begin it again")
    data = _content(parameters.encoding, "data", parameters.data)
    await source.put_piece(partial, parameters.index, data)
    return _upload(source, partial.manifest, partial.id, partial)


def upload_status(source: Source, parameters: requests.UploadStatusParameters) -> views.UploadView:
    """What is missing of an upload, and how many validators hold it once it is done."""
    content, upload_id = bytes.fromhex(parameters.hash), bytes.fromhex(parameters.id)
    pieces = source.replica.blobs.pieces
    partial = pieces.partials.get(upload_id)
    manifest = pieces.manifest(content) if partial is None else partial.manifest
    if manifest is None or manifest.content != content:
        raise RequestRejected(RequestReason.NOT_FOUND, "no such upload is under way: begin it again")
    return _upload(source, manifest, upload_id, partial)


def _upload(source: Source, manifest: ContentManifest, upload_id: bytes, partial: Partial | None) -> views.UploadView:
    is_complete = source.replica.blobs.has(manifest.content)
    return views.UploadView(
        id=upload_id.hex(),
        hash=manifest.content.hex(),
        size_bytes=manifest.size_bytes,
        piece_size_bytes=PIECE_SIZE_BYTES,
        missing=[] if is_complete or partial is None else partial.missing,
        is_complete=is_complete,
        validators=source.replica.replication.holders(manifest.content),
    )


def _content(encoding: str, name: str, text: str) -> bytes:
    try:
        return bytes.fromhex(text) if encoding == "hex" else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise RequestRejected(RequestReason.INVALID_PARAMETER, f"{name} is not {encoding}") from error
