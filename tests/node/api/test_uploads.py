"""Large contents over the API: piece by piece in, in parts or ranges out."""

from __future__ import annotations

import base64
import random
from pathlib import Path

import aiohttp
import pytest

from node import replication
from node.client import AsyncClient, CallFailed
from node.primitives.crypto import sha256
from node.storage import pieces
from node.storage.blobs import Uses
from node.types.content import PIECE_SIZE_BYTES, ContentManifest, cut, make_manifest
from tests.node.api.host import Client, Node, serving
from tests.node.api.story import Story

CONTENT = random.Random(64).randbytes(2 * PIECE_SIZE_BYTES + 5)
MANIFEST = make_manifest(cut(CONTENT))


def begun_with(manifest: ContentManifest, **changes: object) -> dict:
    hashes = [each.hex() for each in manifest.pieces]
    return {"hash": manifest.content.hex(), "size_bytes": manifest.size_bytes, "pieces": hashes, **changes}


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def refer(client: Client, content: bytes) -> None:
    client.node.replica.blobs.apply_uses(Uses(height=1, referred=((content, False),)))


async def test_upload_goes_on_where_it_was_and_is_the_content_at_the_end(client: Client) -> None:
    begun = await client.call("begin_upload", begun_with(MANIFEST))
    assert (begun["missing"], begun["is_complete"], begun["validators"]) == ([0, 1, 2], False, 0)
    after = await client.call("put_piece", id=begun["id"], index=1, data=text(cut(CONTENT)[1]))
    assert after["missing"] == [0, 2]
    assert await client.call("put_piece", id=begun["id"], index=1, data=text(cut(CONTENT)[1])) == after
    assert await client.call("begin_upload", begun_with(MANIFEST)) == after
    assert await client.call("upload_status", id=begun["id"], hash=begun["hash"]) == after
    for index in (2, 0):
        after = await client.call("put_piece", id=begun["id"], index=index, data=text(cut(CONTENT)[index]))
    assert (after["missing"], after["is_complete"]) == ([], True)
    assert client.node.replica.blobs.get(MANIFEST.content) == CONTENT
    again = await client.call("begin_upload", begun_with(MANIFEST))
    assert (again["missing"], again["is_complete"]) == ([], True)


async def test_upload_survives_a_stop_of_the_node(story: Story) -> None:
    async with serving(Node(story.chain, story.disk)) as client:
        begun = await client.call("begin_upload", begun_with(MANIFEST))
        await client.call("put_piece", id=begun["id"], index=1, data=text(cut(CONTENT)[1]))
        disk = client.node.disk.copy()
    async with serving(Node(story.chain, disk)) as client:
        assert (await client.call("begin_upload", begun_with(MANIFEST)))["missing"] == [0, 2]


async def test_wrong_pieces_and_sizes_are_refused_with_a_reason(client: Client) -> None:
    begun = await client.call("begin_upload", begun_with(MANIFEST))
    for index, data in [(0, cut(CONTENT)[1]), (1, cut(CONTENT)[1][:-1]), (2, b""), (2, bytes(PIECE_SIZE_BYTES))]:
        refused = await client.fails("put_piece", id=begun["id"], index=index, data=text(data))
        assert refused == (-32000, "bad_piece")
    invalid = (-32602, "invalid_parameter")
    assert await client.fails("put_piece", id=begun["id"], index=3, data=text(b"x")) == invalid
    assert await client.fails("put_piece", id=begun["id"], index=64, data=text(b"x")) == invalid
    assert await client.fails("put_piece", id=begun["id"], index=0, data="*") == invalid
    assert await client.fails("put_piece", id="00" * 32, index=0, data="") == (-32000, "not_found")
    assert await client.fails("upload_status", id="00" * 32, hash="00" * 32) == (-32000, "not_found")
    assert await client.fails("begin_upload", begun_with(MANIFEST, size_bytes=PIECE_SIZE_BYTES)) == invalid
    assert await client.fails("begin_upload", begun_with(MANIFEST, size_bytes=64 * 2**20 + 1)) == invalid
    assert await client.fails("begin_upload", begun_with(MANIFEST, size_bytes=4 * PIECE_SIZE_BYTES)) == invalid
    five = make_manifest([bytes(PIECE_SIZE_BYTES)] * 5)
    assert await client.fails("begin_upload", begun_with(five)) == (-32000, "too_large")
    assert (await client.call("begin_upload", begun_with(MANIFEST)))["missing"] == [0, 1, 2]


async def test_whole_that_is_not_what_it_is_named_is_refused_and_its_pieces_are_let_go_of(client: Client) -> None:
    begun = await client.call("begin_upload", begun_with(MANIFEST, hash="ab" * 32))
    for index in (0, 1):
        await client.call("put_piece", id=begun["id"], index=index, data=text(cut(CONTENT)[index]))
    refused = await client.fails("put_piece", id=begun["id"], index=2, data=text(cut(CONTENT)[2]))
    assert refused == (-32000, "bad_piece")
    assert await client.fails("upload_status", id=begun["id"], hash="ab" * 32) == (-32000, "not_found")
    assert [key for key, _ in client.node.disk.blobs.iterate(b"p", b"q")] == []


async def test_client_may_have_a_few_uploads_only_and_an_idle_one_gives_way(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(pieces.MOST_PARTIALS_OF_SOURCE):
        await client.call("begin_upload", begun_with(MANIFEST, hash=f"{number:064x}"))
    assert await client.fails("begin_upload", begun_with(MANIFEST)) == (-32000, "too_many_uploads")
    monkeypatch.setattr(pieces, "IDLE_MS", 0)
    await client.call("begin_upload", begun_with(MANIFEST))
    assert await client.fails("upload_status", id="00" * 32, hash=f"{0:064x}") == (-32000, "not_found")
    assert len(client.node.replica.blobs.pieces.partials) == pieces.MOST_PARTIALS_OF_SOURCE


async def test_a_store_that_is_full_of_unused_contents_takes_no_upload(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replication, "LARGEST_UNREFERENCED_SIZE_BYTES", MANIFEST.size_bytes)
    client.node.put(b"one more")
    assert await client.fails("begin_upload", begun_with(MANIFEST)) == (-32000, "too_many_uploads")


async def test_erased_content_is_not_taken_again(client: Client) -> None:
    client.node.replica.blobs.apply_uses(Uses(height=1, erased=(MANIFEST.content,)))
    assert await client.fails("begin_upload", begun_with(MANIFEST)) == (-32000, "erased")


async def test_client_uploads_files_of_any_size_and_tells_how_far_it_is(client: Client, tmp_path: Path) -> None:
    file, small = tmp_path / "weights", tmp_path / "record"
    file.write_bytes(CONTENT)
    small.write_bytes(b"few bytes")
    seen: list[tuple[int, int]] = []
    async with AsyncClient(client.node.url) as other:
        begun = await client.call("begin_upload", begun_with(MANIFEST))
        await client.call("put_piece", id=begun["id"], index=0, data=text(cut(CONTENT)[0]))
        assert await other.upload(file, on_progress=lambda *each: seen.append(each)) == MANIFEST.content.hex()
        assert await other.upload(small) == sha256(b"few bytes").hex()
        assert await other.upload(file) == MANIFEST.content.hex()
        refer(client, MANIFEST.content)
        assert await other.get_blob(MANIFEST.content.hex()) == CONTENT
    size = len(CONTENT)
    assert seen[0] == (PIECE_SIZE_BYTES, size)
    assert seen[-1] == (size, size)
    assert len(seen) == 3


async def test_client_hears_why_a_content_is_too_large(client: Client) -> None:
    async with AsyncClient(client.node.url) as other:
        with pytest.raises(CallFailed, match="at most 4194304 bytes"):
            await other.upload(bytes(4 * 2**20 + 1))


async def test_large_content_is_read_in_parts_by_rpc(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.api.requests.LARGEST_READ_SIZE_BYTES", 2 * PIECE_SIZE_BYTES)
    client.node.replica.put_blobs([CONTENT])
    refer(client, MANIFEST.content)
    name = MANIFEST.content.hex()
    assert await client.fails("get_blob", hash=name) == (-32000, "too_large")
    part = await client.call("get_blob", hash=name, offset_bytes=7)
    assert base64.b64decode(part["content"]) == CONTENT[7 : 7 + 2 * PIECE_SIZE_BYTES]
    assert (part["size_bytes"], part["offset_bytes"]) == (len(CONTENT), 7)
    assert (await client.call("get_blob", hash=name, offset_bytes=len(CONTENT)))["content"] == ""


@pytest.mark.parametrize(
    ("asked", "status", "start", "stop"),
    [
        (None, 200, 0, len(CONTENT)),
        ("bytes=0-", 206, 0, len(CONTENT)),
        ("bytes=10-19", 206, 10, 20),
        ("bytes=1048570-1048590", 206, 1048570, 1048591),
        ("bytes=5-2097160", 206, 5, len(CONTENT)),
        ("bytes=-3", 206, len(CONTENT) - 3, len(CONTENT)),
        ("bytes=2097157-", 416, 0, 0),
        ("bytes=9-3", 416, 0, 0),
        ("bytes=a-b", 416, 0, 0),
        ("lines=1-2", 200, 0, len(CONTENT)),
    ],
)
async def test_range_of_a_content_is_served(
    client: Client, asked: str | None, status: int, start: int, stop: int
) -> None:
    client.node.replica.put_blobs([CONTENT])
    refer(client, MANIFEST.content)
    url = f"{client.node.url}/api/v1/contents/{MANIFEST.content.hex()}"
    headers = {} if asked is None else {"Range": asked}
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        assert answer.status == status
        body = await answer.read()
        if status != 416:
            assert body == CONTENT[start:stop]
        if status == 206:
            assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(CONTENT)}"


async def test_page_of_an_allowed_origin_reads_a_large_content(story: Story) -> None:
    async with serving(Node(story.chain, story.disk, cors_origins=("https://a.example",))) as client:
        client.node.replica.put_blobs([CONTENT])
        refer(client, MANIFEST.content)
        url = f"{client.node.url}/api/v1/contents/{MANIFEST.content.hex()}"
        async with aiohttp.ClientSession() as session:
            async with session.get(url, headers={"Origin": "https://a.example"}) as answer:
                assert answer.headers["Access-Control-Allow-Origin"] == "https://a.example"
                assert await answer.read() == CONTENT
            async with session.get(url, headers={"If-None-Match": answer.headers["ETag"]}) as again:
                assert again.status == 304
