"""The blob store: what is referred to stays, what is not is swept, and the accounts of both are right."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from node.primitives.crypto import sha256
from node.storage.blobs import MOST_RANGES, BlobStore, Uses
from node.storage.kv import LevelStore, MemoryStore


def refer(blobs: BlobStore, hashes: Iterable[bytes], *, is_restricted: bool) -> tuple[bytes, ...]:
    return blobs.apply_uses(Uses(height=1, referred=tuple((each, is_restricted) for each in hashes)))


def release(blobs: BlobStore, hashes: Iterable[bytes]) -> None:
    blobs.apply_uses(Uses(height=1, released=tuple(hashes)))


def erase(blobs: BlobStore, hashes: Iterable[bytes]) -> None:
    blobs.apply_uses(Uses(height=1, erased=tuple(hashes)))


@pytest.fixture
def blobs() -> BlobStore:
    return BlobStore(MemoryStore())


def test_what_is_put_is_held_under_its_hash(blobs: BlobStore) -> None:
    hashes = blobs.put([b"one", b"two"], now_ms=5)
    assert hashes == (sha256(b"one"), sha256(b"two"))
    assert [blobs.get(each) for each in hashes] == [b"one", b"two"]
    assert all(blobs.has(each) for each in hashes)
    assert not blobs.has(sha256(b"three"))
    assert blobs.get(sha256(b"three")) is None
    assert blobs.unreferenced_size_bytes == 6


def test_the_same_content_twice_counts_once(blobs: BlobStore) -> None:
    blobs.put([b"one", b"one"], now_ms=5)
    blobs.put([b"one"], now_ms=6)
    assert blobs.unreferenced_size_bytes == 3


def test_a_content_named_twice_by_one_transaction_is_counted_off_once(blobs: BlobStore) -> None:
    """A contribution may name a record twice; the second is a duplicate."""
    [name] = blobs.put([b"one"], now_ms=5)
    missing = sha256(b"missing")
    assert refer(blobs, [name, name, missing, missing], is_restricted=False) == (missing,)
    assert blobs.unreferenced_size_bytes == 0
    blobs.put([b"two"], now_ms=5)
    erase(blobs, [sha256(b"two"), sha256(b"two")])
    assert blobs.unreferenced_size_bytes == 0


def test_what_is_referred_to_is_not_swept(blobs: BlobStore) -> None:
    kept, swept, young = blobs.put([b"kept", b"swept"], now_ms=5) + blobs.put([b"young"], now_ms=10)
    assert refer(blobs, [kept], is_restricted=False) == ()
    assert blobs.sweep(older_than_ms=10, in_use=()) == 1
    assert [blobs.has(each) for each in (kept, swept, young)] == [True, False, True]
    assert blobs.unreferenced_size_bytes == len(b"young")
    assert blobs.sweep(older_than_ms=10, in_use=()) == 0


def test_what_is_missing_is_wanted_until_it_comes_and_then_kept(blobs: BlobStore) -> None:
    name = sha256(b"late")
    assert refer(blobs, [name], is_restricted=False) == (name,)
    assert blobs.wanted() == [name]
    blobs.put([b"late"], now_ms=1)
    assert blobs.wanted() == []
    assert blobs.unreferenced_size_bytes == 0
    assert blobs.sweep(older_than_ms=100, in_use=()) == 0
    assert blobs.get(name) == b"late"


def test_contents_are_public_once_referred_to_and_reviewed(blobs: BlobStore) -> None:
    [record] = blobs.put([b"record"], now_ms=1)
    assert not blobs.is_public(record)
    refer(blobs, [record], is_restricted=True)
    assert not blobs.is_public(record)
    release(blobs, [record])
    assert blobs.is_public(record)


def test_a_content_that_is_restricted_before_it_comes_stays_so(blobs: BlobStore) -> None:
    record = sha256(b"record")
    refer(blobs, [record], is_restricted=True)
    blobs.put([b"record"], now_ms=1)
    assert not blobs.is_public(record)


@pytest.mark.parametrize("is_here", [True, False])
def test_naming_a_public_content_again_does_not_hide_it(blobs: BlobStore, is_here: bool) -> None:
    """Or anybody could take an accepted record from the public by contributing it again, as a duplicate."""
    record = sha256(b"record")
    if is_here:
        blobs.put([b"record"], now_ms=1)
    refer(blobs, [record], is_restricted=True)
    release(blobs, [record])
    refer(blobs, [record], is_restricted=True)
    blobs.put([b"record"], now_ms=2)
    assert blobs.is_public(record)


def test_what_is_erased_is_gone_from_the_disk(tmp_path: Path) -> None:
    directory = tmp_path / "blobs"
    store = LevelStore(directory)
    blobs = BlobStore(store)
    secret = b"a patient's name, many times over; " * 50
    [name] = blobs.put([secret], now_ms=1)
    refer(blobs, [name], is_restricted=True)
    blobs.put([bytes(10) + b"other"], now_ms=1)
    erase(blobs, [name])
    assert (blobs.has(name), blobs.get(name), blobs.wanted(), blobs.erased()) == (False, None, [], [name])
    blobs.purge(blobs.erased())
    assert blobs.erased() == []
    store.close()
    assert not any(b"a patient's name" in path.read_bytes() for path in directory.rglob("*") if path.is_file())


@pytest.mark.parametrize("seed", range(3))
def test_what_is_erased_is_gone_wherever_the_store_had_put_it(tmp_path: Path, seed: int) -> None:
    print(f"seed {seed}")
    chooser = random.Random(seed)
    store = LevelStore(tmp_path)
    blobs = BlobStore(store)
    alive: list[bytes] = []
    for _ in range(30):
        fresh = [chooser.randbytes(80) for _ in range(5)]
        blobs.put(fresh, now_ms=1)
        alive += fresh
        if chooser.random() < 0.4:
            store.compact(b"", b"\xff")
        if chooser.random() < 0.4:
            gone = [alive.pop(chooser.randrange(len(alive))) for _ in range(2)]
            erase(blobs, [sha256(each) for each in gone])
            blobs.purge(blobs.erased())
            on_disk = b"".join(path.read_bytes() for path in sorted(tmp_path.iterdir()))
            assert not any(each in on_disk for each in gone)
    assert [blobs.get(sha256(each)) for each in alive] == alive
    store.close()


def test_many_erasures_are_purged_together(tmp_path: Path) -> None:
    store = LevelStore(tmp_path)
    blobs = BlobStore(store)
    secrets = [b"secret %d; " % index * 20 for index in range(2 * MOST_RANGES)]
    names = blobs.put(secrets, now_ms=1)
    [other] = blobs.put([b"other"], now_ms=1)
    erase(blobs, names)
    blobs.purge(blobs.erased())
    assert blobs.get(other) == b"other"
    store.close()
    assert not any(b"secret" in path.read_bytes() for path in tmp_path.iterdir())


def test_what_is_being_erased_is_not_taken_in_again(blobs: BlobStore) -> None:
    [name] = blobs.put([b"one"], now_ms=1)
    erase(blobs, [name])
    assert blobs.put([b"one"], now_ms=2) == (name,)
    assert not blobs.has(name)
    blobs.purge([name])
    assert not blobs.has(name)


def test_what_a_waiting_transaction_refers_to_is_not_swept(blobs: BlobStore) -> None:
    used, unused = blobs.put([b"used", b"unused"], now_ms=1)
    assert blobs.sweep(older_than_ms=10, in_use={used}) == 1
    assert (blobs.has(used), blobs.has(unused)) == (True, False)


def test_a_blocks_uses_are_noted_once_with_its_height(blobs: BlobStore) -> None:
    record, late = blobs.put([b"record"], now_ms=1)[0], sha256(b"late")
    assert blobs.height == 0
    uses = Uses(height=7, referred=((record, True), (record, False), (late, False)), erased=(late,))
    for _ in range(2):
        assert blobs.apply_uses(uses) == ()
        assert (blobs.height, blobs.is_public(record), blobs.wanted()) == (7, False, [])


def test_erasing_what_is_not_here_changes_nothing(blobs: BlobStore) -> None:
    name = sha256(b"elsewhere")
    refer(blobs, [name], is_restricted=True)
    erase(blobs, [name])
    assert blobs.wanted() == []
    assert blobs.unreferenced_size_bytes == 0


CONTENTS = [bytes((65 + index,)) * (index + 1) for index in range(5)]
some = st.lists(st.sampled_from(CONTENTS), min_size=1, max_size=4)


class BlobMachine(RuleBasedStateMachine):
    """The store against four plain sets; it is opened again at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = MemoryStore()
        self.blobs = BlobStore(self.disk)
        self.held: set[bytes] = set()
        self.arrived_ms: dict[bytes, int] = {}
        self.restricted: set[bytes] = set()
        self.wanted: set[bytes] = set()
        self.referred: set[bytes] = set()
        self.now_ms = 0

    @rule(contents=some)
    def put(self, contents: list[bytes]) -> None:
        self.now_ms += 1
        assert self.blobs.put(contents, self.now_ms) == tuple(map(sha256, contents))
        for content in contents:
            if content not in self.held:
                self.held.add(content)
                if content in self.wanted:
                    self.wanted.discard(content)
                else:
                    self.arrived_ms[content] = self.now_ms

    @rule(contents=some, is_restricted=st.booleans())
    def refer(self, contents: list[bytes], is_restricted: bool) -> None:
        missing = refer(self.blobs, map(sha256, contents), is_restricted=is_restricted)
        assert missing == tuple(sha256(each) for each in dict.fromkeys(contents) if each not in self.held)
        for content in contents:
            if is_restricted and content not in self.referred:
                self.restricted.add(content)
            self.referred.add(content)
            self.arrived_ms.pop(content, None)
            if content not in self.held:
                self.wanted.add(content)

    @rule(contents=some)
    def release(self, contents: list[bytes]) -> None:
        release(self.blobs, map(sha256, contents))
        self.restricted.difference_update(contents)

    @rule(contents=some)
    def erase(self, contents: list[bytes]) -> None:
        erase(self.blobs, [sha256(each) for each in contents])
        self.blobs.purge(self.blobs.erased())
        for each in contents:
            self._forget(each)

    @rule(age_ms=st.integers(0, 10))
    def sweep(self, age_ms: int) -> None:
        limit_ms = self.now_ms - age_ms
        old = [content for content, when in self.arrived_ms.items() if when < limit_ms]
        assert self.blobs.sweep(limit_ms, ()) == len(old)
        for each in old:
            self._forget(each)

    @rule()
    def open_again(self) -> None:
        self.blobs = BlobStore(self.disk)

    def _forget(self, content: bytes) -> None:
        for known in (self.held, self.restricted, self.wanted, self.referred):
            known.discard(content)
        self.arrived_ms.pop(content, None)

    @invariant()
    def agrees_with_the_sets(self) -> None:
        assert self.blobs.unreferenced_size_bytes == sum(map(len, self.arrived_ms))
        assert sorted(self.blobs.wanted()) == sorted(map(sha256, self.wanted))
        for content in CONTENTS:
            name = sha256(content)
            assert self.blobs.has(name) == (content in self.held)
            assert self.blobs.get(name) == (content if content in self.held else None)
            is_public = content not in self.restricted and content not in self.arrived_ms
            assert self.blobs.is_public(name) == is_public


TestBlobMachine = BlobMachine.TestCase
TestBlobMachine.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
