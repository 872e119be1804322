"""Ranges of the state: proven whole or refused, whatever is changed in them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence

import pytest

from node.errors import MessageReason, MessageRejected
from node.primitives.crypto import sha256
from node.state import tree
from node.state.range_proof import FIRST_KEY_HASH, LAST_KEY_HASH, Leaf, prove_range, verify_range

ENDS = (FIRST_KEY_HASH, LAST_KEY_HASH)


def make_state(keys: Sequence[bytes]) -> tuple[bytes, dict[str, bytes], list[Leaf]]:
    """Root, nodes by path and sorted leaves of a state with some key hashes."""
    changes = {key: sha256(key + b"value") for key in keys}
    root, nodes = tree.update(lambda _path: None, changes)
    return root, {path: node for path, node in nodes.items() if node is not None}, sorted(changes.items())


def between(leaves: Sequence[Leaf], first: bytes, last: bytes) -> list[Leaf]:
    return [leaf for leaf in leaves if first <= leaf[0] <= last]


def is_accepted(root: bytes, first: bytes, last: bytes, leaves: Sequence[Leaf], proof: Sequence[bytes]) -> bool:
    try:
        verify_range(root, first, last, leaves, proof)
    except MessageRejected as error:
        return error.reason is not MessageReason.MALFORMED
    return True


def is_whole(root: bytes, leaves: Sequence[Leaf], first: bytes, last: bytes, state: Sequence[Leaf]) -> bool:
    """The plain reference: knows the whole state, builds it anew with the claimed range in it, compares the roots."""
    rest = [leaf for leaf in state if not first <= leaf[0] <= last]
    claimed = dict(rest) | dict(leaves)
    return tree.update(lambda _path: None, claimed)[0] == root


def random_key(chooser: random.Random) -> bytes:
    """Key hashes that share long beginnings as often as not."""
    key = bytearray(chooser.randbytes(32))
    shared = chooser.choice((0, 0, 1, 2, 16, 31))
    key[:shared] = bytes(chooser.choice((0, 0x5A, 0xFF)) for _ in range(1)) * shared
    return bytes(key)


def random_end(chooser: random.Random, leaves: Sequence[Leaf]) -> bytes:
    if not leaves or chooser.random() < 0.2:
        return chooser.choice((*ENDS, random_key(chooser)))
    number = int.from_bytes(chooser.choice(leaves)[0], "big") + chooser.choice((-1, 0, 1))
    return min(max(number, 0), 2**256 - 1).to_bytes(32, "big")


@pytest.mark.parametrize("seed", range(4))
def test_every_range_is_proven_and_agrees_with_the_plain_reference(seed: int) -> None:
    print(f"seed {seed}")
    chooser = random.Random(seed)
    for _ in range(60):
        root, nodes, state = make_state([random_key(chooser) for _ in range(chooser.choice((0, 1, 2, 3, 20, 60)))])
        first, last = sorted((random_end(chooser, state), random_end(chooser, state)))
        leaves = between(state, first, last)
        verify_range(root, first, last, leaves, prove_range(nodes.get, first, last))
        assert is_whole(root, leaves, first, last, state)


def mutated(chooser: random.Random, leaves: list[Leaf], state: list[Leaf], first: bytes, last: bytes) -> list[Leaf]:
    """One lie about the leaves of a range."""
    found = list(leaves)
    kind = chooser.choice(("flip value", "flip key", "leave out", "add", "swap"))
    if kind == "add" or not found:
        span = int.from_bytes(last, "big") - int.from_bytes(first, "big")
        key = (int.from_bytes(first, "big") + chooser.randint(0, span)).to_bytes(32, "big")
        return sorted({**dict(found), key: chooser.randbytes(32)}.items())
    place = chooser.randrange(len(found))
    key, value = found[place]
    if kind == "leave out":
        del found[place]
    elif kind == "flip value":
        flipped = bytearray(value)
        flipped[chooser.randrange(32)] ^= 1 << chooser.randrange(8)
        found[place] = (key, bytes(flipped))
    elif kind == "flip key":
        flipped = bytearray(key)
        flipped[chooser.randrange(32)] ^= 1 << chooser.randrange(8)
        found[place] = (bytes(flipped), value)
    else:
        other = chooser.randrange(len(found))
        found[place], found[other] = (key, found[other][1]), (found[other][0], value)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_a_lie_about_an_entry_is_refused(seed: int) -> None:
    print(f"seed {seed}")
    chooser = random.Random(100 + seed)
    tried = 0
    while tried < 200:
        root, nodes, state = make_state([random_key(chooser) for _ in range(chooser.choice((1, 2, 5, 40)))])
        first, last = sorted((random_end(chooser, state), random_end(chooser, state)))
        leaves = between(state, first, last)
        lie = mutated(chooser, leaves, state, first, last)
        if lie == leaves:
            continue
        tried += 1
        assert not is_accepted(root, first, last, lie, prove_range(nodes.get, first, last))


@pytest.mark.parametrize("seed", range(2))
def test_any_byte_of_the_proof_matters(seed: int) -> None:
    print(f"seed {seed}")
    chooser = random.Random(200 + seed)
    root, nodes, state = make_state([random_key(chooser) for _ in range(40)])
    first, last = state[9][0], state[24][0]
    leaves, proof = between(state, first, last), prove_range(nodes.get, first, last)
    assert is_accepted(root, first, last, leaves, proof)
    for number, node in enumerate(proof):
        for place in range(len(node)):
            forged = bytearray(node)
            forged[place] ^= 1 << chooser.randrange(8)
            assert not is_accepted(root, first, last, leaves, (*proof[:number], bytes(forged), *proof[number + 1 :]))
        assert not is_accepted(root, first, last, leaves, (*proof[:number], *proof[number + 1 :]))
        assert not is_accepted(root, first, last, leaves, (*proof, node))
    assert not is_accepted(hashlib.sha256(root).digest(), first, last, leaves, proof)


@pytest.mark.parametrize("seed", range(2))
def test_range_with_other_ends_than_it_was_proven_for_is_refused_when_it_holds_other_entries(seed: int) -> None:
    print(f"seed {seed}")
    chooser = random.Random(300 + seed)
    root, nodes, state = make_state([random_key(chooser) for _ in range(40)])
    for _ in range(200):
        first, last = sorted((random_end(chooser, state), random_end(chooser, state)))
        other_first, other_last = sorted((random_end(chooser, state), random_end(chooser, state)))
        leaves, proof = between(state, first, last), prove_range(nodes.get, first, last)
        if is_accepted(root, other_first, other_last, leaves, proof):
            assert leaves == between(state, other_first, other_last)


def test_the_messages_say_what_is_wrong() -> None:
    chooser = random.Random(7)
    root, nodes, state = make_state([random_key(chooser) for _ in range(10)])
    proof = prove_range(nodes.get, *ENDS)
    assert proof == ()
    lies = {
        "the entries are not sorted": state[::-1],
        "the entries below the root are not the state's": state[1:],
    }
    for sentence, leaves in lies.items():
        with pytest.raises(MessageRejected) as caught:
            verify_range(root, *ENDS, leaves, proof)
        assert caught.value.message.endswith(f"(range proof: {sentence})")
    with pytest.raises(MessageRejected, match="the state is empty"):
        verify_range(tree.EMPTY_ROOT, *ENDS, state, proof)
    with pytest.raises(MessageRejected, match="the proof has nodes that show nothing"):
        verify_range(root, *ENDS, state, (nodes[""],))
    with pytest.raises(MessageRejected, match="an entry is outside of the range"):
        verify_range(root, state[1][0], LAST_KEY_HASH, state, proof)
    verify_range(tree.EMPTY_ROOT, *ENDS, [], ())
