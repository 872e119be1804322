"""The golden vectors of the ledger: made by rule, compared with the files, twice under two hash seeds.

`python -m tests.node.vectors` writes them again: read the difference before you commit it.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from consensus.types import Statement
from node.primitives.codec import encode
from node.primitives.crypto import PrivateKey, Tag, signing_digest, tagged_hash
from node.primitives.plain import to_plain
from node.types.block import Header
from node.types.signed import vote_digest
from node.types.transaction import Transaction
from tests.node.primitives import ed25519 as curve
from tests.node.samples import digest, sample, wire_classes

DIRECTORY = Path(__file__).parent.parent / "vectors"
GENESIS_HASH = digest("genesis hash")

Vectors = dict[str, Any]


def wire_vectors() -> Vectors:
    """Plain value, bytes and identity of one value of each wire class."""
    return {name: wire_vector(sample(wire_class)) for name, wire_class in wire_classes().items()}


def wire_vector(value: Any) -> Vectors:
    """The vector of one value."""
    vector: Vectors = {"plain": to_plain(value), "hex": encode(value).hex()}
    if isinstance(value, Transaction):
        vector["id"] = value.id(GENESIS_HASH).hex()
    elif isinstance(value, Header):
        vector["id"] = value.id().hex()
    elif isinstance(value, Statement):
        vector["vote_digest"] = vote_digest(GENESIS_HASH, value).hex()
    elif hasattr(value, "hash") and callable(value.hash):
        vector["hash"] = value.hash().hex()
    return vector


def tag_vectors() -> Vectors:
    """Every tag as it is hashed and signed."""
    data = b"some data"
    return {
        tag.name: {
            "tag": tag.value,
            "padded": tag.padded.hex(),
            "tagged_hash": tagged_hash(tag, data).hex(),
            "signing_digest": signing_digest(tag, GENESIS_HASH, data).hex(),
        }
        for tag in Tag
    }


def signature_vectors() -> list[Vectors]:
    """Signatures on which libraries disagree, with the verdict of the rule."""
    return [
        {
            "what": what,
            "public_key": public_key.hex(),
            "digest": message.hex(),
            "signature": signature.hex(),
            "is_valid": curve.is_valid(public_key, message, signature),
        }
        for what, public_key, message, signature in _signatures()
    ]


def all_vectors() -> dict[str, object]:
    """Every file and what stands in it."""
    return {"wire.json": wire_vectors(), "tags.json": tag_vectors(), "signature.json": signature_vectors()}


def as_text(vectors: object) -> str:
    """How a file is written."""
    return json.dumps(vectors, indent=1, ensure_ascii=True) + "\n"


Case = tuple[str, bytes, bytes, bytes]
"""What it is, public key, message, signature."""


def _signatures() -> Iterator[Case]:
    yield from _ordinary()
    yield from _small_order()
    yield from _mixed_order()
    yield from _encodings()


def _ordinary() -> Iterator[Case]:
    message = digest("message")
    key = PrivateKey(digest("key"))
    public_key, signature = key.public_key, key.sign(message)
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    yield "an ordinary signature", public_key, message, signature
    yield "of the empty message", public_key, b"", key.sign(b"")
    yield "of another digest", public_key, digest("another message"), signature
    yield "by another key", PrivateKey(digest("another key")).public_key, message, signature
    yield "one bit of R flipped", public_key, message, bytes([r[0] ^ 1]) + signature[1:]
    yield "one bit of S flipped", public_key, message, r + (s ^ 1).to_bytes(32, "little")
    yield "S + L", public_key, message, r + (s + curve.L).to_bytes(32, "little")
    yield "S + 2L", public_key, message, r + (s + 2 * curve.L).to_bytes(32, "little")
    yield "S with its highest bit set", public_key, message, r + (s | 1 << 255).to_bytes(32, "little")
    yield "S = L", public_key, message, r + curve.L.to_bytes(32, "little")
    yield "S = 0 and R = 0", public_key, message, bytes(64)
    yield "-S", public_key, message, r + (curve.L - s).to_bytes(32, "little")
    yield "-R", public_key, message, r[:31] + bytes([r[31] ^ 0x80]) + signature[32:]
    zero_nonce = (curve.challenge(curve.encode_point(curve.NEUTRAL), public_key, message) * _secret("key")) % curve.L
    yield "R is the neutral point", public_key, message, _signature(curve.NEUTRAL, zero_nonce)


def _small_order() -> Iterator[Case]:
    """A of small order: the equation holds for chosen messages, whoever signs."""
    torsion = curve.torsion_point()
    nonce = _secret("small order nonce")
    for in_key in range(8):
        public_key = curve.encode_point(curve.multiply(in_key, torsion))
        for in_r in (0, 1):
            point_r = curve.add(curve.multiply(nonce, curve.BASE), curve.multiply(in_r, torsion))
            message = _message(public_key, point_r, in_key, in_r, is_exact=True)
            if message is not None:
                yield f"A = {in_key}·T, R = rB + {in_r}·T", public_key, message, _signature(point_r, nonce)
    # R of small order, by somebody who knows the key.
    scalar = _secret("small R")
    public_key = curve.encode_point(curve.multiply(scalar, curve.BASE))
    for in_r in range(1, 8):
        point_r = curve.multiply(in_r, torsion)
        message = digest(f"small R {in_r}")
        k = curve.challenge(curve.encode_point(point_r), public_key, message)
        yield f"R = {in_r}·T", public_key, message, _signature(point_r, k * scalar)


def _mixed_order() -> Iterator[Case]:
    """A or R with a part of small order: with the cofactor always valid, without it for some messages only."""
    torsion = curve.torsion_point()
    scalar, nonce = _secret("mixed key"), _secret("mixed nonce")
    for in_key in range(8):
        public_key = curve.encode_point(curve.add(curve.multiply(scalar, curve.BASE), curve.multiply(in_key, torsion)))
        for in_r in (0, 1, 4, 7):
            point_r = curve.add(curve.multiply(nonce, curve.BASE), curve.multiply(in_r, torsion))
            for is_exact in (True, False):
                message = _message(public_key, point_r, in_key, in_r, is_exact=is_exact)
                if message is None or in_key == in_r == 0:
                    continue
                k = curve.challenge(curve.encode_point(point_r), public_key, message)
                what = f"A = aB + {in_key}·T, R = rB + {in_r}·T, " + ("exact" if is_exact else "with the cofactor only")
                yield what, public_key, message, _signature(point_r, nonce + k * scalar)


def _encodings() -> Iterator[Case]:
    """Points written otherwise than RFC 8032 says."""
    message = digest("message")
    key = PrivateKey(digest("key"))
    signature = key.sign(message)
    written = {
        "y = p": curve.P.to_bytes(32, "little"),
        "y = p + 1": (curve.P + 1).to_bytes(32, "little"),
        "y = p + 3": (curve.P + 3).to_bytes(32, "little"),
        "y = 2^255 - 1": ((1 << 255) - 1).to_bytes(32, "little"),
        "y = 1, x = -0": (1 | 1 << 255).to_bytes(32, "little"),
        "y = -1, x = -0": (curve.P - 1 | 1 << 255).to_bytes(32, "little"),
        "y = p + 1, x = -0": (curve.P + 1 | 1 << 255).to_bytes(32, "little"),
        "y = p, x negative": (curve.P | 1 << 255).to_bytes(32, "little"),
        "no point of the curve": (2).to_bytes(32, "little"),
        "all ones": b"\xff" * 32,
        "all zeros": bytes(32),
    }
    nonce = _secret("encoding nonce")
    r = curve.encode_point(curve.multiply(nonce, curve.BASE))
    scalar = _secret("encoding key")
    public_key = curve.encode_point(curve.multiply(scalar, curve.BASE))
    for what, data in written.items():
        yield f"A: {what}", data, message, signature
        # Were A read as a point of small order, S·B = R + k·A could hold.
        yield f"A: {what}, S = r", data, message, r + nonce.to_bytes(32, "little")
        # Were R read as a point of small order, S = k·a could hold.
        k = curve.challenge(data, public_key, message)
        yield f"R: {what}, S = k·a", public_key, message, data + (k * scalar % curve.L).to_bytes(32, "little")
    yield "a signature of 63 bytes", key.public_key, message, signature[:63]
    yield "a signature of 65 bytes", key.public_key, message, signature + b"\0"
    yield "no signature", key.public_key, message, b""
    yield "a key of 31 bytes", key.public_key[:31], message, signature
    yield "a key of 33 bytes", key.public_key + b"\0", message, signature
    yield "no key", b"", message, signature


def _secret(name: str) -> int:
    if name == "key":
        half = bytearray(hashlib.sha512(digest("key")).digest()[:32])
        half[0] &= 248
        half[31] = half[31] & 127 | 64
        return int.from_bytes(half, "little")
    return 1 + int.from_bytes(digest(name), "little") % (curve.L - 1)


def _signature(point_r: curve.Point, s: int) -> bytes:
    return curve.encode_point(point_r) + (s % curve.L).to_bytes(32, "little")


def _message(public_key: bytes, point_r: curve.Point, in_key: int, in_r: int, *, is_exact: bool) -> bytes | None:
    """A message for which the parts of small order, k·in_key and in_r, cancel out, or do not."""
    r = curve.encode_point(point_r)
    messages = (digest(f"message {in_key} {in_r} {index}") for index in range(64))
    wanted = (each for each in messages if _cancels(r, public_key, each, in_key, in_r) is is_exact)
    return next(wanted, None)


def _cancels(r: bytes, public_key: bytes, message: bytes, in_key: int, in_r: int) -> bool:
    return (curve.challenge(r, public_key, message) * in_key + in_r) % 8 == 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--print"]:
        print(as_text({"wire.json": wire_vectors(), "tags.json": tag_vectors()}))
    else:
        for name, vectors in all_vectors().items():
            (DIRECTORY / name).write_text(as_text(vectors))
