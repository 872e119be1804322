"""Fast signatures behind the one function that decides: the same calls, a keyed hash instead of Ed25519.

An adversary of the simulator signs with its own key only, so that nobody forges what anybody who knows a public key
could forge here. `python -m tests.simulation run --real-signatures` runs the same seeds with Ed25519.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

from node.primitives import crypto

SIGNATURE_SIZE_BYTES = 64
_real = crypto.nacl


def _sign(digest: bytes, secret: bytes) -> bytes:
    return hashlib.blake2b(digest, key=secret[32:]).digest()


def _open(signed: bytes, public_key: bytes) -> None:
    signature, digest = signed[:SIGNATURE_SIZE_BYTES], signed[SIGNATURE_SIZE_BYTES:]
    if hashlib.blake2b(digest, key=public_key).digest() != signature:
        raise _real.exceptions.BadSignatureError("not this key's")


_FAST = SimpleNamespace(
    exceptions=_real.exceptions,
    bindings=SimpleNamespace(
        crypto_sign=_sign,
        crypto_sign_open=_open,
        crypto_sign_seed_keypair=_real.bindings.crypto_sign_seed_keypair,
    ),
)


@contextmanager
def signatures(*, are_real: bool) -> Iterator[None]:
    """Chooses what stands behind `is_valid_signature` and `PrivateKey.sign` for a while."""
    before = crypto.nacl
    crypto.nacl = _real if are_real else _FAST  # type: ignore[assignment]
    try:
        yield
    finally:
        crypto.nacl = before
