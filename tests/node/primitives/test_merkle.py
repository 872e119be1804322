"""The Merkle tree against RFC 6962 as it is defined, and against Certificate Transparency's known answers."""

from __future__ import annotations

import hashlib
import random

import pytest

from node.primitives.merkle import inclusion_proof, is_included, leaf_hash, merkle_root

LEAVES = [
    bytes.fromhex(each)
    for each in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "60616263646566676869" + "6a6b6c6d6e6f",
    )
]

ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
"""Roots over the first 1, 2, … leaves: the known answers of the certificate-transparency-go test suite."""


def reference_root(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, word by word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while 2 * split < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + reference_root(leaves[:split]) + reference_root(leaves[split:])).digest()


def test_the_empty_list_has_the_hash_of_nothing() -> None:
    assert merkle_root(()).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("count", range(1, 9))
def test_known_answers(count: int) -> None:
    assert merkle_root(LEAVES[:count]).hex() == ROOTS[count - 1]


def test_leaf_and_node_have_different_prefixes() -> None:
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    assert merkle_root([b"a", b"b"]) != merkle_root([left + right])
    assert merkle_root([b"a", b"b", b"b"]) != merkle_root([b"a", b"b"])


@pytest.mark.parametrize("count", range(1, 71))
def test_every_leaf_of_every_size_is_proven_and_nothing_else_is(count: int) -> None:
    leaves = [index.to_bytes(2, "big") for index in range(count)]
    root = merkle_root(leaves)
    assert root == reference_root(leaves)
    chooser = random.Random(count)
    print(f"seed {count}")
    for index in range(count):
        proof = inclusion_proof(leaves, index)
        assert is_included(root, leaves[index], index, count, proof)
        assert not is_included(root, b"another", index, count, proof)
        assert not is_included(bytes(32), leaves[index], index, count, proof)
        assert not is_included(root, leaves[index], index, count, (*proof, bytes(32)))
        if proof:
            assert not is_included(root, leaves[index], index, count, proof[:-1])
            place = chooser.randrange(len(proof))
            wrong = list(proof)
            wrong[place] = hashlib.sha256(wrong[place]).digest()
            assert not is_included(root, leaves[index], index, count, wrong)
        if count > 1:
            other = chooser.choice([each for each in range(count) if each != index])
            assert not is_included(root, leaves[index], other, count, proof)


@pytest.mark.parametrize("index", [-1, 3, 4])
def test_a_place_outside_of_the_list_is_refused(index: int) -> None:
    leaves = [b"a", b"b", b"c"]
    assert not is_included(merkle_root(leaves), b"c", index, 3, inclusion_proof(leaves, 2))
    with pytest.raises(AssertionError, match="the index is in the list"):
        inclusion_proof(leaves, index)


def test_an_empty_list_includes_nothing() -> None:
    assert not is_included(merkle_root(()), b"", 0, 0, ())
