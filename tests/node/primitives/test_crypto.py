"""Signatures by the rule of the header, for every case on which libraries are known to disagree."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from node.primitives.crypto import (
    PrivateKey,
    Tag,
    address_of,
    are_valid_signatures,
    is_valid_signature,
    make_node_certificate,
    node_key_of_certificate,
    private_key_pem,
    sha256,
    signing_digest,
    tagged_hash,
)
from tests.node.primitives import ed25519
from tests.node.vectors import DIRECTORY

SIGNATURES: list[dict[str, Any]] = json.loads((DIRECTORY / "signature.json").read_text())


def parts(vector: dict[str, Any]) -> tuple[bytes, bytes, bytes]:
    return tuple(bytes.fromhex(vector[name]) for name in ("public_key", "digest", "signature"))  # type: ignore[return-value]


@pytest.mark.parametrize("vector", SIGNATURES, ids=lambda vector: vector["what"])
def test_the_library_decides_as_the_rule_does(vector: dict[str, Any]) -> None:
    assert is_valid_signature(*parts(vector)) is vector["is_valid"]


def test_the_reference_decides_as_the_vectors_say() -> None:
    wrong = [vector["what"] for vector in SIGNATURES if ed25519.is_valid(*parts(vector)) is not vector["is_valid"]]
    assert wrong == []


def test_the_vectors_hold_signatures_that_a_cofactor_would_let_pass() -> None:
    split = [vector for vector in SIGNATURES if "with the cofactor only" in vector["what"] and not vector["is_valid"]]
    assert len(split) >= 20
    assert all(ed25519.is_valid_with_cofactor(*parts(vector)) for vector in split[::8])


def test_in_bulk_each_is_decided_alone() -> None:
    assert are_valid_signatures(map(parts, SIGNATURES)) == [vector["is_valid"] for vector in SIGNATURES]


RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
            "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
        ),
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        ),
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
            "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
        ),
    ),
]
"""RFC 8032, section 7.1: seed, public key, message, signature."""


@pytest.mark.parametrize(("seed", "public_key", "message", "signature"), RFC_8032)
def test_known_answers_of_the_standard(seed: str, public_key: str, message: str, signature: str) -> None:
    if not seed.startswith("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"):
        key = PrivateKey(bytes.fromhex(seed))
        assert (key.public_key.hex(), key.sign(bytes.fromhex(message)).hex()) == (public_key, signature)
    data = bytes.fromhex(public_key), bytes.fromhex(message), bytes.fromhex(signature)
    assert is_valid_signature(*data)
    assert ed25519.is_valid(*data)


def test_every_tag_is_its_own_and_sixteen_bytes() -> None:
    padded = [tag.padded for tag in Tag]
    assert all(len(each) == 16 for each in padded)
    assert len(set(padded)) == len(padded)
    vectors = json.loads((DIRECTORY / "tags.json").read_text())
    assert {name: vector["padded"] for name, vector in vectors.items()} == {tag.name: tag.padded.hex() for tag in Tag}


def test_what_is_signed_is_tag_genesis_hash_and_bytes() -> None:
    genesis_hash = sha256(b"genesis")
    expected = hashlib.sha256(b"ol/transaction\0\0" + genesis_hash + b"data").digest()
    assert signing_digest(Tag.TRANSACTION, genesis_hash, b"data") == expected
    assert tagged_hash(Tag.BLOCK, b"data") == hashlib.sha256(b"ol/block" + bytes(8) + b"data").digest()


def test_a_signature_means_nothing_on_another_chain_or_for_another_purpose() -> None:
    key = PrivateKey(sha256(b"seed"))
    digest = signing_digest(Tag.NOTARIZE, sha256(b"one chain"), b"data")
    signature = key.sign(digest)
    assert is_valid_signature(key.public_key, digest, signature)
    for other in (
        signing_digest(Tag.FINALIZE, sha256(b"one chain"), b"data"),
        signing_digest(Tag.NOTARIZE, sha256(b"another chain"), b"data"),
        signing_digest(Tag.NOTARIZE, sha256(b"one chain"), b"other data"),
    ):
        assert not is_valid_signature(key.public_key, other, signature)


def test_an_address_is_the_start_of_the_keys_hash_and_a_secret_is_not_shown() -> None:
    key = PrivateKey(sha256(b"seed"))
    assert key.address == address_of(key.public_key) == hashlib.sha256(key.public_key).digest()[:20]
    assert repr(key) == f"PrivateKey(address={key.address.hex()})"
    assert PrivateKey.generate().public_key != PrivateKey.generate().public_key
    with pytest.raises(ValueError, match="an Ed25519 seed has 32 bytes"):
        PrivateKey(bytes(31))


def test_a_node_certificate_is_a_function_of_its_key() -> None:
    key = PrivateKey(sha256(b"node"))
    certificate = make_node_certificate(key)
    assert certificate == make_node_certificate(key)
    assert len(certificate) <= 1024
    assert node_key_of_certificate(certificate) == key.public_key
    assert private_key_pem(key).startswith(b"-----BEGIN PRIVATE KEY-----")


def test_a_certificate_that_another_key_signed_is_refused() -> None:
    mine, other = (make_node_certificate(PrivateKey(sha256(word))) for word in (b"mine", b"other"))
    forged = mine[:-64] + other[-64:]
    with pytest.raises(ValueError, match="is signed by its own key"):
        node_key_of_certificate(forged)
    with pytest.raises(ValueError, match=r".+"):
        node_key_of_certificate(b"no certificate")
