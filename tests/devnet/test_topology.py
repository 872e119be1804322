"""A devnet's directory: made once, resumed, reset; nobody else's files are touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from devnet.topology import NotADevnetError, open_devnet


def test_devnet_is_made_once_then_resumed_and_made_anew_on_reset(tmp_path: Path, first_port: int) -> None:
    directory = tmp_path / "devnet"
    made, is_new = open_devnet(directory, first_port=first_port)
    again, is_new_again = open_devnet(directory, first_port=first_port)
    reset, is_new_after_reset = open_devnet(directory, is_reset=True, first_port=first_port)
    assert (is_new, is_new_again, is_new_after_reset) == (True, False, True)
    assert made.genesis.hash() == again.genesis.hash() != reset.genesis.hash()


@pytest.mark.parametrize("is_reset", [False, True])
def test_somebody_elses_files_are_neither_deleted_nor_joined(tmp_path: Path, is_reset: bool) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    with pytest.raises(NotADevnetError, match="name another --directory"):
        open_devnet(tmp_path, is_reset=is_reset)
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]
