"""Views over layers over the store read like one dictionary; commits, undo records and caches keep that."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from node.modules.escrow import ESCROWS, Escrow
from node.modules.supply import SUPPLY
from node.primitives.codec import decode, encode
from node.state import store as state_store
from node.state.store import StateStore, Undo
from node.state.tree import EMPTY_ROOT
from node.state.view import Layer, View
from node.storage.kv import LevelStore, MemoryStore
from node.storage.schema import Column, column_key, height_key
from tests.node.state.reference import fresh_root
from tests.node.state.verifier import is_proven

KEYS = [bytes((index,)) * 32 for index in range(6)]


def put(view: View, key: bytes, units: int | None) -> None:
    if units is None:
        ESCROWS.delete(view, key)
    else:
        ESCROWS.put(view, key, Escrow(balance_units=units))


def get(state: Any, key: bytes) -> int | None:
    escrow = ESCROWS.get(state, key)
    return None if escrow is None else escrow.balance_units


def root_of(content: dict[bytes, int]) -> bytes:
    return fresh_root(
        {
            hashlib.sha256(ESCROWS.key(key)).digest(): hashlib.sha256(encode(Escrow(balance_units=units))).digest()
            for key, units in content.items()
        }
    )


def layer_of(base: Any, changes: dict[bytes, int | None]) -> Layer:
    view = View(base)
    for key, units in changes.items():
        put(view, key, units)
    return view.seal()


def test_what_is_reverted_never_was() -> None:
    view = View(StateStore(MemoryStore()))
    put(view, KEYS[0], 1)
    outer = view.mark()
    put(view, KEYS[0], 2)
    put(view, KEYS[1], 3)
    inner = view.mark()
    put(view, KEYS[0], None)
    put(view, KEYS[1], None)
    put(view, KEYS[2], 4)
    view.revert(inner)
    assert [get(view, key) for key in KEYS[:3]] == [2, 3, None]
    view.revert(outer)
    assert [get(view, key) for key in KEYS[:3]] == [1, None, None]
    assert view.seal().encoded.keys() == {ESCROWS.key(KEYS[0])}


def test_a_view_without_changes_seals_to_its_bases_root() -> None:
    state = StateStore(MemoryStore())
    assert View(state).seal().root == EMPTY_ROOT
    layer = layer_of(state, {KEYS[0]: 1})
    assert View(layer).seal().root == layer.root


def test_reading_through_a_layer_does_not_write_the_store() -> None:
    disk = MemoryStore()
    state = StateStore(disk)
    layer = layer_of(layer_of(state, {KEYS[0]: 1}), {KEYS[1]: 2})
    assert get(layer, KEYS[0]) == 1
    assert disk.values == {}
    assert state.root == EMPTY_ROOT


def test_a_commit_stands_right_above_the_final_state() -> None:
    state = StateStore(MemoryStore())
    above = layer_of(layer_of(state, {KEYS[0]: 1}), {KEYS[1]: 2})
    with pytest.raises(AssertionError, match="a block is committed right above the final state"):
        state.commit(2, above, {})


def test_a_commit_is_there_after_opening_again_with_what_belongs_to_the_block(tmp_path: Path) -> None:
    disk = LevelStore(tmp_path)
    state = StateStore(disk)
    assert (state.tip.height, state.root) == (0, EMPTY_ROOT)
    state.commit(1, layer_of(state, {KEYS[0]: 1, KEYS[1]: 2}), {b"\x03block": b"bytes"})
    state.commit(2, layer_of(state, {KEYS[0]: None, KEYS[2]: 3}), {})
    disk.close()
    disk = LevelStore(tmp_path)
    again = StateStore(disk)
    assert (again.tip.height, again.root) == (2, root_of({KEYS[1]: 2, KEYS[2]: 3}))
    assert [get(again, key) for key in KEYS[:3]] == [None, 2, 3]
    assert disk.get(b"\x03block") == b"bytes"
    for key, units in ((KEYS[1], 2), (KEYS[0], None)):
        value = None if units is None else encode(Escrow(balance_units=units))
        assert again.read_bytes(ESCROWS.key(key)) == value
        assert is_proven(again.root, ESCROWS.key(key), value, list(again.prove(ESCROWS.key(key)).nodes))
    disk.close()


def test_undo_records_take_the_blocks_back_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_store, "UNDO_HEIGHTS", 3)
    disk = MemoryStore()
    state = StateStore(disk)
    contents: list[dict[bytes, bytes]] = [{}]
    changes = [{KEYS[0]: 1, KEYS[1]: 1}, {KEYS[0]: 2, KEYS[2]: 2}, {KEYS[1]: None, KEYS[3]: None}, {KEYS[1]: 4}, {}]
    for height, change in enumerate(changes, start=1):
        state.commit(height, layer_of(state, change), {})
        contents.append(dict(disk.iterate(bytes((Column.STATE,)), bytes((Column.TREE,)))))
    kept = [height for height in range(1, 6) if disk.get(column_key(Column.UNDO, height_key(height))) is not None]
    assert kept == [3, 4, 5]
    for height in (5, 4, 3):
        undo = decode(Undo, disk.get(column_key(Column.UNDO, height_key(height))) or b"")
        assert [each.key for each in undo.replaced] == sorted(each.key for each in undo.replaced)
        for each in undo.replaced:
            disk.write({column_key(Column.STATE, each.key): each.values[0] if each.values else None})
        assert dict(disk.iterate(bytes((Column.STATE,)), bytes((Column.TREE,)))) == contents[height - 1]


def test_full_caches_are_emptied_and_answers_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_store, "CACHED_VALUES", 2)
    monkeypatch.setattr(state_store, "CACHED_NODES", 2)
    state = StateStore(MemoryStore())
    content = dict(zip(KEYS, range(6), strict=True))
    state.commit(1, layer_of(state, dict(content)), {})
    for _ in range(3):
        assert {key: get(state, key) for key in KEYS} == content
    state.commit(2, layer_of(state, {KEYS[0]: 9}), {})
    assert state.root == root_of({**content, KEYS[0]: 9})


def test_a_singleton_is_there_from_genesis_on() -> None:
    with pytest.raises(AssertionError, match="genesis sets SUPPLY"):
        SUPPLY.get(StateStore(MemoryStore()))


values = st.none() | st.integers(0, 3)
writes = st.dictionaries(st.sampled_from(KEYS), values, max_size=5)


class StateMachine(RuleBasedStateMachine):
    """Blocks on branches, some final, the store opened again at any time: each reads like its own dictionary."""

    blocks = Bundle("blocks")

    def __init__(self) -> None:
        super().__init__()
        self.disk = MemoryStore()
        self.state = StateStore(self.disk)
        self.final: dict[bytes, int] = {}
        self.height = 0
        self.above: dict[int, tuple[Layer, dict[bytes, int], int]] = {}
        """Layer, content and parent number; 0 is the final state."""
        self.numbers = 0

    def _grow(
        self,
        base: Any,
        content: dict[bytes, int],
        parent: int,
        changes: dict[bytes, int | None],
        undone: dict[bytes, int | None],
    ) -> int:
        view = View(base)
        for key, units in list(changes.items())[:2]:
            put(view, key, units)
        mark = view.mark()
        for key, units in undone.items():
            put(view, key, units)
            assert get(view, key) == units
        view.revert(mark)
        for key, units in list(changes.items())[2:]:
            put(view, key, units)
        merged = {**content, **changes}
        present = {key: units for key, units in merged.items() if units is not None}
        assert {key: get(view, key) for key in KEYS} == {key: present.get(key) for key in KEYS}
        layer = view.seal()
        assert layer.root == root_of(present)
        self.numbers += 1
        self.above[self.numbers] = (layer, present, parent)
        return self.numbers

    @rule(target=blocks, changes=writes, undone=writes)
    def build_on_final(self, changes: dict[bytes, int | None], undone: dict[bytes, int | None]) -> int:
        return self._grow(self.state, self.final, 0, changes, undone)

    @rule(target=blocks, number=blocks, changes=writes, undone=writes)
    def build_on(self, number: int, changes: dict[bytes, int | None], undone: dict[bytes, int | None]) -> Any:
        if number not in self.above:
            return multiple()
        layer, content, _ = self.above[number]
        return self._grow(layer, content, number, changes, undone)

    @rule(number=blocks)
    def finalize(self, number: int) -> None:
        if number not in self.above or self.above[number][2] != 0:
            return
        layer, content, _ = self.above.pop(number)
        self.height += 1
        self.state.commit(self.height, layer, {})
        self.final = content
        descendants = {number}
        kept: dict[int, tuple[Layer, dict[bytes, int], int]] = {}
        for other, (each, its_content, parent) in sorted(self.above.items()):
            if parent not in descendants:
                continue
            descendants.add(other)
            if parent == number:
                each.base = self.state
            kept[other] = (each, its_content, 0 if parent == number else parent)
        self.above = kept

    @rule()
    def open_again(self) -> None:
        self.state = StateStore(self.disk)
        self.above = {}

    @invariant()
    def everything_reads_like_its_dictionary(self) -> None:
        assert self.state.tip.height == self.height
        assert self.state.root == root_of(self.final)
        for key in KEYS:
            assert get(self.state, key) == self.final.get(key)
        for layer, content, _ in self.above.values():
            assert {key: get(layer, key) for key in KEYS} == {key: content.get(key) for key in KEYS}


TestStateMachine = StateMachine.TestCase
TestStateMachine.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
