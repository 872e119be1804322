"""Hashes and Ed25519 signatures. Owns the cryptography and PyNaCl libraries.

What is signed is SHA-256(tag padded to 16 bytes ‖ genesis hash ‖ canonical bytes): no signature means anything on
another chain or for another purpose.

A signature (R, S) by key A is valid iff S < L, A and R are canonical encodings of points that are not of small order,
and S·B = R + k·A without the cofactor (k from RFC 8032). `is_valid_signature` is the only function that decides;
tests/vectors/signature.json pins the edge cases on which libraries disagree.

Source: RFC 8032; Chalkias, Garillot, Nikolaenko, "Taming the many EdDSAs", eprint 2020/1244.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

import nacl.bindings
import nacl.exceptions

HASH_SIZE_BYTES = 32
ADDRESS_SIZE_BYTES = 20
SIGNATURE_SIZE_BYTES = 64
PUBLIC_KEY_SIZE_BYTES = 32
TAG_SIZE_BYTES = 16

Hash = Annotated[bytes, range(32, 33)]
"""A SHA-256 digest."""
PublicKey = Annotated[bytes, range(32, 33)]
"""An Ed25519 public key."""
Signature = Annotated[bytes, range(64, 65)]
"""An Ed25519 signature."""
Address = Annotated[bytes, range(20, 21), "address"]
"""First 20 bytes of SHA-256(public key); the marker has it shown as `open1…`."""

ZERO_HASH = bytes(HASH_SIZE_BYTES)


class Tag(StrEnum):
    """What a hash or a signature is for; padded with zero bytes to 16. Vectors: tests/vectors/tags.json."""

    GENESIS = "ol/genesis"
    TRANSACTION = "ol/transaction"
    BLOCK = "ol/block"
    VALIDATOR_SET = "ol/validators"
    PARAMETERS = "ol/parameters"
    NOTARIZE = "ol/notarize"
    NULLIFY = "ol/nullify"
    FINALIZE = "ol/finalize"
    HELLO = "ol/hello"
    ROTATE_KEY = "ol/rotate-key"
    ROTATE_CONSENSUS_KEY = "ol/rotate-ckey"
    READ_CONTENT = "ol/read-content"
    SNAPSHOT = "ol/snapshot"
    CONTENT_MANIFEST = "ol/content"

    @property
    def padded(self) -> bytes:
        """The 16 bytes that stand first."""
        return self.value.encode("ascii").ljust(TAG_SIZE_BYTES, b"\0")


def sha256(data: bytes) -> bytes:
    """SHA-256 of some bytes."""
    return hashlib.sha256(data).digest()


def tagged_hash(tag: Tag, data: bytes) -> bytes:
    """A hash that means one thing only: SHA-256(padded tag ‖ data)."""
    return hashlib.sha256(tag.padded + data).digest()


def signing_digest(tag: Tag, genesis_hash: bytes, data: bytes) -> bytes:
    """The 32 bytes that are signed."""
    return hashlib.sha256(tag.padded + genesis_hash + data).digest()


def address_of(public_key: bytes) -> bytes:
    """The 20-byte address of a public key."""
    return hashlib.sha256(public_key).digest()[:ADDRESS_SIZE_BYTES]


def is_valid_signature(public_key: bytes, digest: bytes, signature: bytes) -> bool:
    """Whether `signature` is `public_key`'s over `digest`: the one function that decides."""
    # The library reads 32 bytes wherever the key ends.
    if len(public_key) != PUBLIC_KEY_SIZE_BYTES or len(signature) != SIGNATURE_SIZE_BYTES:
        return False
    try:
        nacl.bindings.crypto_sign_open(signature + digest, public_key)
    except (nacl.exceptions.BadSignatureError, ValueError, TypeError):
        return False
    return True


def are_valid_signatures(items: Iterable[tuple[bytes, bytes, bytes]]) -> list[bool]:
    """`is_valid_signature` of each (public key, digest, signature); libsodium releases the GIL in each."""
    return [is_valid_signature(public_key, digest, signature) for public_key, digest, signature in items]


class PrivateKey:
    """An Ed25519 key pair in memory."""

    __slots__ = ("_secret", "address", "public_key", "seed")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != 32:
            raise ValueError("an Ed25519 seed has 32 bytes")
        self.seed = seed
        self.public_key, self._secret = nacl.bindings.crypto_sign_seed_keypair(seed)
        self.address = address_of(self.public_key)

    @staticmethod
    def generate() -> PrivateKey:
        """A new key from the system's randomness."""
        return PrivateKey(os.urandom(32))

    def sign(self, digest: bytes) -> bytes:
        """The 64-byte signature over a digest."""
        return nacl.bindings.crypto_sign(digest, self._secret)[:SIGNATURE_SIZE_BYTES]

    def __repr__(self) -> str:
        return f"PrivateKey(address={self.address.hex()})"


def seal(passphrase: str, salt: bytes, nonce: bytes, secret: bytes, label: bytes) -> bytes:
    """A secret under a passphrase: scrypt (n = 2^15, r = 8, p = 1) and ChaCha20-Poly1305, bound to a label."""
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305  # only keystores need it

    return ChaCha20Poly1305(_passphrase_key(passphrase, salt)).encrypt(nonce, secret, label)


def unseal(passphrase: str, salt: bytes, nonce: bytes, sealed: bytes, label: bytes) -> bytes:
    """The secret again. Raises: ValueError when the passphrase is wrong or the bytes were changed."""
    from cryptography.exceptions import InvalidTag  # as above
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    try:
        return ChaCha20Poly1305(_passphrase_key(passphrase, salt)).decrypt(nonce, sealed, label)
    except InvalidTag as error:
        raise ValueError("the passphrase is wrong, or the file was changed") from error


def _passphrase_key(passphrase: str, salt: bytes) -> bytes:
    return hashlib.scrypt(passphrase.encode(), salt=salt, n=2**15, r=8, p=1, maxmem=2**26, dklen=32)


def make_node_certificate(key: PrivateKey) -> bytes:
    """The node's self-signed X.509 certificate (DER): a function of the key alone.

    The name is the key's address, the validity never ends: the registry, not a date, admits and removes nodes.
    """
    # X.509 is needed when a node is set up or starts to listen, not by everybody who hashes.
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.x509.oid import NameOID

    private_key = Ed25519PrivateKey.from_private_bytes(key.seed)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, key.address.hex())])
    builder = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=private_key.public_key(),
        serial_number=int.from_bytes(key.address, "big") >> 1,
        not_valid_before=dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
        not_valid_after=dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC),
    )
    from cryptography.hazmat.primitives.serialization import Encoding

    return builder.sign(private_key, None).public_bytes(Encoding.DER)


def node_key_of_certificate(certificate: bytes) -> bytes:
    """The Ed25519 public key inside a node certificate (DER).

    Raises: ValueError when it is no certificate of an Ed25519 key, or is not signed by that key.
    """
    from cryptography import x509  # as above
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    try:
        parsed = x509.load_der_x509_certificate(certificate)
        public_key = parsed.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(f"these bytes are no X.509 certificate: {error}") from error
    if not isinstance(public_key, Ed25519PublicKey):
        raise ValueError("a node certificate holds an Ed25519 key")
    try:
        public_key.verify(parsed.signature, parsed.tbs_certificate_bytes)
    except InvalidSignature as error:
        raise ValueError("a node certificate is signed by its own key") from error
    return public_key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def private_key_pem(key: PrivateKey) -> bytes:
    """The key as unencrypted PKCS #8 PEM, the one form OpenSSL's TLS reads."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # as above
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    private_key = Ed25519PrivateKey.from_private_bytes(key.seed)
    return private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
