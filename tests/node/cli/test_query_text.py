"""What people read of an answer: OPEN beside base units, the names of their own keys beside addresses."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from node.__main__ import cli
from node.cli.query import human_lines, known_addresses
from node.keystore import Keystore
from node.primitives.address import format_address
from tests.factories import make_key

ALICE = format_address(make_key("alice").address)
BOB = format_address(make_key("bob").address)


def test_amounts_are_also_said_in_open_and_known_addresses_named() -> None:
    value = {
        "address": ALICE,
        "balance_units": "1500000000",
        "nonce": 3,
        "heirs": [BOB, ALICE],
        "parts": {"fee_units": "0"},
    }
    assert list(human_lines(value, "", {ALICE: "alice"})) == [
        f"address        {ALICE}  (key alice)",
        "balance_units  1500000000  (1.5 OPEN)",
        "nonce          3",
        "heirs",
        f"  {BOB}",
        f"  {ALICE}  (key alice)",
        "parts",
        "  fee_units  0  (0 OPEN)",
    ]


def test_the_homes_keys_are_known_and_what_is_none_is_passed_over(tmp_path: Path) -> None:
    store = Keystore(tmp_path / "keystore")
    store.add("alice", make_key("alice"), "correct horse")
    (tmp_path / "keystore" / "broken.json").write_text("{}")
    assert known_addresses(tmp_path) == {ALICE: "alice"}
    assert known_addresses(tmp_path / "nowhere") == {}


def test_listings_take_a_cursor_and_single_things_do_not() -> None:
    assert "--cursor" in CliRunner().invoke(cli, ["query", "blocks", "--help"]).output
    assert "--cursor" not in CliRunner().invoke(cli, ["query", "block", "--help"]).output
