"""What `verify` remembers in the home: the validators of every epoch it followed, from one trusted start."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node.config import ConfigError
from node.light import MOST_VALIDATORS, Epoch, LightClient, LightRefused, decode, pack

DIRECTORY = "light"
LARGEST_FILE_SIZE_BYTES = 2**26
MEMBERS = [(20, 32, int)]
"""The shape of a set's members on the wire."""


@dataclass(frozen=True, slots=True)
class TrustStore:
    """One file per trusted start, so that two starts never vouch for each other."""

    home: Path
    """The home directory."""
    root: str
    """The genesis hash, or HEIGHT:BLOCK_ID."""

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.home / DIRECTORY / f"{hashlib.sha256(self.root.encode()).hexdigest()[:16]}.json"

    def load(self) -> LightClient | None:
        """The client as it was; None when there is no file. Raises: ConfigError when the file is not as it was left."""
        try:
            if self.path.stat().st_size > LARGEST_FILE_SIZE_BYTES:
                raise ValueError("it is too large")
            return self._client(json.loads(self.path.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, IndexError, RecursionError, LightRefused) as error:
            raise ConfigError(
                f"{self.path} cannot be trusted ({error}): delete it, and the chain is followed from the start again"
            ) from error

    def save(self, client: LightClient) -> None:
        """Writes the client, whole or not at all. Raises: ConfigError."""
        sets: dict[str, int] = {}
        epochs = []
        for number in sorted(client.epochs):
            each = client.epochs[number]
            place = sets.setdefault(pack(each.validators).hex(), len(sets))
            epochs.append([number, each.first_height, place])
        content = {
            "root": self.root,
            "genesis_hash": client.genesis_hash.hex(),
            "newest_height": client.newest_height,
            "sets": list(sets),
            "epochs": epochs,
        }
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            written = self.path.with_suffix(f".{os.getpid()}")
            written.write_text(json.dumps(content) + "\n")
            written.replace(self.path)
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be written: {error}; name another --home") from error

    def _client(self, content: dict[str, Any]) -> LightClient:
        genesis_hash, newest_height = bytes.fromhex(content["genesis_hash"]), content["newest_height"]
        if content["root"] != self.root or (":" not in self.root and genesis_hash.hex() != self.root):
            raise ValueError("it is of another start")
        sets = [decode(bytes.fromhex(each), MEMBERS) for each in content["sets"]]
        epochs = [Epoch(number, first_height, sets[place]) for number, first_height, place in content["epochs"]]
        numbers, heights = [each.number for each in epochs], [each.first_height for each in epochs]
        if not numbers or any(type(each) is not int for each in [*numbers, *heights, newest_height]):
            raise ValueError("numbers are missing")
        if numbers != list(range(numbers[0], numbers[0] + len(numbers))) or heights != sorted(set(heights)):
            raise ValueError("its epochs do not follow each other")
        if not all(1 <= len(each) <= MOST_VALIDATORS for each in sets):
            raise ValueError("a validator set is empty or too large")
        return LightClient(genesis_hash, {each.number: each for each in epochs}, newest_height)
