"""Account keys on disk, each in a file of its own, encrypted under a passphrase."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from node.config import ConfigError, write_private
from node.primitives.address import format_address
from node.primitives.crypto import PrivateKey, seal, unseal

FORMAT = 1
SALT_SIZE_BYTES = 16
NONCE_SIZE_BYTES = 12
SHORTEST_PASSPHRASE = 8
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,31}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """What a key file tells without the passphrase."""

    name: str
    """What its owner calls it."""
    address: bytes
    """The first address of the key."""
    public_key: bytes
    """The public key."""


class Keystore:
    """The key files of a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def names(self) -> list[str]:
        """The names of all keys, sorted."""
        return sorted(path.stem for path in self._directory.glob("*.json"))

    def show(self, name: str) -> StoredKey:
        """What a key file tells. Raises: ConfigError."""
        raw = self._read(name)
        public_key = bytes.fromhex(str(raw["public_key"]))
        return StoredKey(name=name, address=bytes.fromhex(str(raw["address_hex"])), public_key=public_key)

    def add(self, name: str, key: PrivateKey, passphrase: str) -> StoredKey:
        """Writes a new key file. Raises: ConfigError when the name is taken or unusable."""
        if not NAME.fullmatch(name):
            raise ConfigError(f"{name!r} is no key name: lower-case letters, digits, '.', '_', '-', at most 32")
        if len(passphrase) < SHORTEST_PASSPHRASE:
            raise ConfigError(f"a passphrase has at least {SHORTEST_PASSPHRASE} characters")
        salt, nonce = os.urandom(SALT_SIZE_BYTES), os.urandom(NONCE_SIZE_BYTES)
        sealed = seal(passphrase, salt, nonce, key.seed, key.public_key)
        content = {
            "format": FORMAT,
            "address": format_address(key.address),
            "address_hex": key.address.hex(),
            "public_key": key.public_key.hex(),
            "kdf": "scrypt n=32768 r=8 p=1",
            "cipher": "chacha20-poly1305",
            "salt": salt.hex(),
            "nonce": nonce.hex(),
            "sealed": sealed.hex(),
        }
        write_private(self._path(name), json.dumps(content, indent=2) + "\n")
        return StoredKey(name=name, address=key.address, public_key=key.public_key)

    def unlock(self, name: str, passphrase: str) -> PrivateKey:
        """The key itself. Raises: ConfigError when the passphrase is wrong."""
        raw = self._read(name)
        parts = [bytes.fromhex(str(raw[part])) for part in ("salt", "nonce", "sealed", "public_key")]
        try:
            return PrivateKey(unseal(passphrase, *parts))
        except ValueError as error:
            raise ConfigError(f"key {name}: {error}") from error

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}.json"

    def _read(self, name: str) -> dict[str, object]:
        path = self._path(name)
        if not NAME.fullmatch(name) or not path.exists():
            known = ", ".join(self.names()) or "none yet: `openledger keys new NAME` makes one"
            raise ConfigError(f"there is no key {name!r}; there are: {known}")
        try:
            raw = json.loads(path.read_text())
            bytes.fromhex(raw["public_key"] + raw["address_hex"] + raw["salt"] + raw["nonce"] + raw["sealed"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path} is no key file of this program: restore it from your copy") from error
        if raw.get("format") != FORMAT:
            raise ConfigError(f"{path} has format {raw.get('format')}; this program knows {FORMAT}")
        assert isinstance(raw, dict), "a key file is an object"
        return raw
