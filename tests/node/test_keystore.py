"""Account keys on disk: for their owner only, useless without the passphrase, nothing overwritten."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from node.config import ConfigError
from node.keystore import Keystore
from tests.factories import make_key

KEY = make_key("alice")
PASSPHRASE = "correct horse"


@pytest.fixture
def store(tmp_path: Path) -> Keystore:
    made = Keystore(tmp_path / "keystore")
    made.add("alice", KEY, PASSPHRASE)
    return made


def test_key_comes_back_with_its_passphrase_and_shows_its_address_without(store: Keystore) -> None:
    assert store.unlock("alice", PASSPHRASE).seed == KEY.seed
    shown = store.show("alice")
    assert (shown.address, shown.public_key) == (KEY.address, KEY.public_key)
    assert store.names() == ["alice"]


def test_file_is_readable_by_its_owner_only_and_holds_no_secret_in_the_clear(store: Keystore, tmp_path: Path) -> None:
    path = tmp_path / "keystore" / "alice.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert KEY.seed.hex() not in path.read_text()


def test_wrong_passphrase_is_refused(store: Keystore) -> None:
    with pytest.raises(ConfigError, match="key alice: "):
        store.unlock("alice", "wrong horse")


@pytest.mark.parametrize("part", ["salt", "nonce", "sealed", "public_key"])
def test_any_changed_part_is_refused(store: Keystore, tmp_path: Path, part: str) -> None:
    path = tmp_path / "keystore" / "alice.json"
    raw = json.loads(path.read_text())
    raw[part] = ("1" if raw[part][0] == "0" else "0") + raw[part][1:]
    path.write_text(json.dumps(raw))
    with pytest.raises(ConfigError):
        store.unlock("alice", PASSPHRASE)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 1}', '{"public_key": 1}', "\x00"])
def test_what_is_no_key_file_says_what_to_do(store: Keystore, tmp_path: Path, content: str) -> None:
    (tmp_path / "keystore" / "alice.json").write_text(content)
    with pytest.raises(ConfigError, match="is no key file of this program: restore it from your copy"):
        store.show("alice")


def test_format_of_a_later_program_is_named(store: Keystore, tmp_path: Path) -> None:
    path = tmp_path / "keystore" / "alice.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    with pytest.raises(ConfigError, match="has format 2; this program knows 1"):
        store.show("alice")


def test_key_is_never_overwritten(store: Keystore) -> None:
    with pytest.raises(ConfigError, match="exists already: it is not overwritten"):
        store.add("alice", make_key("bob"), PASSPHRASE)
    assert store.unlock("alice", PASSPHRASE).seed == KEY.seed


@pytest.mark.parametrize("name", ["", "../alice", "Alice", "a" * 33, ".hidden", "a/b"])
def test_unusable_name_is_refused(store: Keystore, name: str) -> None:
    with pytest.raises(ConfigError, match="is no key name"):
        store.add(name, KEY, PASSPHRASE)
    with pytest.raises(ConfigError, match="there is no key"):
        store.show(name)


def test_short_passphrase_is_refused(store: Keystore) -> None:
    with pytest.raises(ConfigError, match="at least 8 characters"):
        store.add("bob", KEY, "short")
