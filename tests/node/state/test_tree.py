"""The state tree: its root and nodes are a function of the content only, and proofs say yes and no."""

from __future__ import annotations

import ast
import hashlib
import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.primitives.codec import decode, encode
from node.state import tree
from node.state.tree import EMPTY_ROOT, StateProof
from tests.node.state import verifier
from tests.node.state.reference import fresh_root, fresh_tree
from tests.node.state.verifier import is_proven


class Nodes:
    """Stored nodes, as a store keeps them."""

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}
        self.root = EMPTY_ROOT

    def update(self, changes: dict[bytes, bytes | None]) -> None:
        self.root, writes = tree.update(self.stored.get, changes)
        for path, node in writes.items():
            if node is None:
                self.stored.pop(path, None)
            else:
                self.stored[path] = node


def hash_with_prefix(prefix: str, number: int) -> bytes:
    """A key hash that shares its first digits with others."""
    rest = hashlib.sha256(str(number).encode()).hexdigest()
    return bytes.fromhex((prefix + rest)[:64])


crowded = st.builds(
    hash_with_prefix,
    st.sampled_from(["", "0", "f", "00", "ab", "abc0", "abc00", "a" * 30, "a" * 63]),
    st.integers(0, 9),
)
"""Key hashes that meet on all depths."""
batches = st.lists(st.dictionaries(crowded, st.none() | st.binary(min_size=32, max_size=32), max_size=9), max_size=7)


@pytest.mark.slow
@settings(max_examples=300)
@given(batches)
def test_root_and_nodes_are_those_of_a_fresh_build_after_every_batch(changes: list[dict[bytes, bytes | None]]) -> None:
    nodes, content = Nodes(), {}
    for batch in changes:
        nodes.update(batch)
        content.update(batch)
        present = {key: value for key, value in content.items() if value is not None}
        assert (nodes.root, nodes.stored) == fresh_tree(present)


@settings(max_examples=100)
@given(st.dictionaries(crowded, st.binary(min_size=32, max_size=32), max_size=20), st.randoms(use_true_random=False))
def test_order_and_grouping_of_the_changes_do_not_matter(content: dict[bytes, bytes], chooser: random.Random) -> None:
    noise = {hash_with_prefix("ab", number): bytes(32) for number in range(20, 25)}
    steps: list[dict[bytes, bytes | None]] = [{key: value} for key, value in content.items()]
    steps += [{key: value} for key, value in noise.items()]
    chooser.shuffle(steps)
    nodes = Nodes()
    while steps:
        count = chooser.randint(1, 4)
        nodes.update({key: value for step in steps[:count] for key, value in step.items()})
        del steps[:count]
    nodes.update(dict.fromkeys(noise))
    assert (nodes.root, nodes.stored) == fresh_tree(content)


def test_a_thousand_random_updates_leave_nothing_over() -> None:
    seed = 7
    print(f"seed {seed}")
    chooser = random.Random(seed)
    nodes, content = Nodes(), {}
    for _ in range(40):
        batch: dict[bytes, bytes | None] = {}
        for _ in range(25):
            key = hashlib.sha256(str(chooser.randrange(400)).encode()).digest()
            batch[key] = None if chooser.random() < 0.45 else chooser.randbytes(32)
        nodes.update(batch)
        content.update(batch)
    present = {key: value for key, value in content.items() if value is not None}
    assert (nodes.root, nodes.stored) == fresh_tree(present)
    nodes.update(dict.fromkeys(present))
    assert (nodes.root, nodes.stored) == (EMPTY_ROOT, {})


def test_changes_that_change_nothing_write_nothing() -> None:
    nodes = Nodes()
    content = {hash_with_prefix("", number): bytes(32) for number in range(20)}
    nodes.update(dict(content))
    absent = hash_with_prefix("", 99)
    assert tree.update(nodes.stored.get, {**content, absent: None}) == (nodes.root, {})
    assert tree.update(nodes.stored.get, {}) == (nodes.root, {})
    assert tree.update({}.get, {absent: None}) == (EMPTY_ROOT, {})


def test_a_leaf_and_a_branch_as_the_header_writes_them() -> None:
    one, other = hash_with_prefix("a", 1), hash_with_prefix("b", 2)
    value = hashlib.sha256(b"value").digest()
    leaves = [hashlib.sha256(b"\x00" + key + value).digest() for key in (one, other)]
    assert fresh_root({one: value}) == leaves[0]
    branch = hashlib.sha256(b"\x01" + (1 << 10 | 1 << 11).to_bytes(2, "big") + b"".join(leaves)).digest()
    nodes = Nodes()
    nodes.update({one: value, other: value})
    assert nodes.root == branch
    nodes.update({other: None})
    assert nodes.root == leaves[0]


def keys_and_values(count: int) -> dict[bytes, bytes]:
    return {f"key {number}".encode(): f"value {number}".encode() for number in range(count)}


def build(content: dict[bytes, bytes]) -> Nodes:
    nodes = Nodes()
    nodes.update({hashlib.sha256(key).digest(): hashlib.sha256(value).digest() for key, value in content.items()})
    return nodes


def prove(nodes: Nodes, key: bytes) -> list[bytes]:
    proof = tree.prove(nodes.stored.get, hashlib.sha256(key).digest())
    assert decode(StateProof, encode(proof)) == proof
    return list(proof.nodes)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 17, 300])
def test_every_value_is_proven_and_every_absence(count: int) -> None:
    content = keys_and_values(count)
    nodes = build(content)
    for key, value in content.items():
        proof = prove(nodes, key)
        assert is_proven(nodes.root, key, value, proof)
        assert not is_proven(nodes.root, key, b"another value", proof)
        assert not is_proven(nodes.root, key, None, proof)
        assert not is_proven(bytes(32), key, value, proof)
    for number in range(count, count + 50):
        key = f"key {number}".encode()
        proof = prove(nodes, key)
        assert is_proven(nodes.root, key, None, proof)
        assert not is_proven(nodes.root, key, f"value {number}".encode(), proof)


def tampered(proof: list[bytes]) -> Iterator[list[bytes]]:
    """Every proof that differs a little."""
    for place, node in enumerate(proof):
        for index in range(0, len(node), max(1, len(node) // 9)):
            for flip in (1, 0x80):
                changed = bytearray(node)
                changed[index] ^= flip
                yield [*proof[:place], bytes(changed), *proof[place + 1 :]]
        yield proof[:place] + proof[place + 1 :]
        yield [*proof[: place + 1], node, *proof[place + 1 :]]
        yield [*proof[:place], node + b"\0", *proof[place + 1 :]]
        yield [*proof[:place], b"", *proof[place + 1 :]]


def test_no_tampered_proof_is_believed() -> None:
    content = keys_and_values(60)
    nodes = build(content)
    for key in [*list(content)[:6], b"absent 1", b"absent 2"]:
        proof = prove(nodes, key)
        claims = {content.get(key), None, b"forged", *list(content.values())[:2]} - {content.get(key, None)}
        for forged in tampered(proof):
            assert not is_proven(nodes.root, key, content.get(key), forged)
        for claim in claims:
            assert not is_proven(nodes.root, key, claim, proof)
            for forged in tampered(proof):
                assert not is_proven(nodes.root, key, claim, forged)


def test_no_other_keys_proof_is_believed() -> None:
    content = keys_and_values(40)
    nodes = build(content)
    keys = list(content)
    for key, other in itertools.pairwise(keys):
        proof = prove(nodes, other)
        assert not is_proven(nodes.root, key, content[key], proof)
        assert not is_proven(nodes.root, key, content[other], proof)
        if len(proof) > len(prove(nodes, key)):
            assert not is_proven(nodes.root, key, None, proof)


def test_the_verifier_stands_alone() -> None:
    """It is published for anyone: forty lines, and nothing but the standard library's hash."""
    path = Path(verifier.__file__ or "")
    source = path.read_text()
    assert len(source.splitlines()) <= 40
    imports = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [[alias.name for alias in node.names] for node in imports] == [["hashlib"]]


def test_the_deepest_proof_fits_its_wire_class() -> None:
    one = bytes.fromhex("a" * 63 + "0")
    other = bytes.fromhex("a" * 63 + "1")
    nodes = Nodes()
    nodes.update({one: bytes(32), other: bytes(32)})
    proof = tree.prove(nodes.stored.get, one)
    assert len(proof.nodes) == tree.DEEPEST + 1
    assert decode(StateProof, encode(proof)) == proof
    absent = tree.prove(nodes.stored.get, bytes.fromhex("a" * 63 + "2"))
    assert len(absent.nodes) == tree.DEEPEST


@pytest.mark.parametrize("seed", range(3))
def test_checking_a_proof_agrees_with_the_plain_reference_whatever_was_done_to_it(seed: int) -> None:
    """A true proof gives the value's hash or its absence; a byte flipped, a node left out or doubled proves nothing."""
    print(f"SEED={seed}")
    draw = random.Random(seed)
    contents = {draw.randbytes(8): draw.randbytes(5) for _ in range(200)}
    changes = {hashlib.sha256(key).digest(): hashlib.sha256(value).digest() for key, value in contents.items()}
    stored: dict[str, bytes | None] = {}
    root, writes = tree.update(stored.get, changes)
    stored.update(writes)
    for key in [*list(contents)[:60], *(draw.randbytes(8) for _ in range(60))]:
        key_hash = hashlib.sha256(key).digest()
        proof = tree.prove(stored.get, key_hash)
        assert tree.verify(root, key_hash, proof) == changes.get(key_hash)
        for nodes in spoilt(draw, list(proof.nodes)):
            claimed = contents.get(key)
            assert not is_proven(root, key, claimed, nodes)
            with pytest.raises(ValueError, match=r"a node|a leaf|a branch|nothing is below|the path"):
                tree.verify(root, key_hash, tree.StateProof(nodes=tuple(nodes)))


def spoilt(draw: random.Random, nodes: list[bytes]) -> list[list[bytes]]:
    at = draw.randrange(len(nodes))
    node, byte = bytearray(nodes[at]), draw.randrange(len(nodes[at]))
    node[byte] ^= 1 << draw.randrange(8)
    return [[*nodes[:at], bytes(node), *nodes[at + 1 :]], nodes[:-1], [*nodes, nodes[-1]], nodes[1:]]
