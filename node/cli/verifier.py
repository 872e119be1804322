"""Follows a chain through a node that is not believed, and asks it for proofs: what `verify` does."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from node.api.views_chain import MerkleProofView, QueryAnswer, TransactionAnswer
from node.api.views_light import LightBlockView
from node.cli.trust import TrustStore
from node.client import CallFailed, Client
from node.config import GENESIS_FILE, ConfigError, Home, load_genesis
from node.errors import NetworkError, OpenLedgerError
from node.light import (
    MOST_SIBLINGS,
    Final,
    LightClient,
    LightReason,
    LightRefused,
    Place,
    check_account,
    check_transaction,
    read_header,
)
from node.primitives.address import format_address, parse_address
from node.primitives.codec import encode
from node.primitives.crypto import HASH_SIZE_BYTES

EPOCHS_AT_ONCE = 32
WITNESS_WAIT_S = 10.0
"""How long a witness may lag behind the node."""
POLL_S = 0.25
LONGEST_HEIGHT = 15
"""Digits."""


class WitnessDisagrees(OpenLedgerError):
    """Another node shows another block at the same height."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Where belief starts, and who is asked."""

    home: Path
    node_url: str
    genesis: Path | None
    start: str | None
    witness_urls: Sequence[str]
    max_age_s: int | None


class Verifier:
    """A light client, the node it asks, and what it found on the way."""

    def __init__(self, trust: Trust, node: Client) -> None:
        self.trust = trust
        self.node = node
        self._genesis = None if trust.start is not None else load_genesis(_genesis_file(trust))
        root = _root_of(trust.start) if self._genesis is None else self._genesis.hash().hex()
        self.store = TrustStore(trust.home, root)
        stored = self.store.load()
        self.light = self._begin() if stored is None else stored
        self.first_epoch = self.light.newest.number

    def account(self, address: str) -> tuple[Final, dict[str, Any]]:
        """An account in the newest state that the node shows."""
        key = _address(address)
        self.follow()
        answer = self.node.call_as(QueryAnswer, "query", table="account", key=key.hex())
        final = self.final(answer.header.height, is_latest=True)
        nodes = [_bytes(node) for node in answer.proof.nodes]
        value = None if answer.value is None else _bytes(answer.value)
        found = check_account(final, key, value, nodes)
        age_s = int(time.time()) - final.header.time_ms // 1000
        if self.trust.max_age_s is not None and age_s > self.trust.max_age_s:
            raise LightRefused(LightReason.STALE, f"{age_s} s old, by this machine's clock")
        shown = {
            "address": format_address(key),
            "exists": value is not None,
            "balance_units": str(found.balance_units),
            "bond_units": str(found.bond_units),
            "nonce": found.nonce,
            "public_key": found.public_key.hex(),
            "roles": found.roles,
            "age_seconds": age_s,
        }
        return final, shown

    def transaction(self, text: str) -> tuple[Final, dict[str, Any]]:
        """A transaction in a final block, and what came of it."""
        transaction_id = _hash32(text, "a transaction's id")
        self.follow()
        answer = self.node.call_as(TransactionAnswer, "tx", id=text, prove=True)
        if answer.proof is None:
            raise LightRefused(LightReason.NOT_INCLUDED, "the node sends no proof")
        final = self.final(answer.proof.header.height)
        transaction, receipt = answer.proof.transaction, answer.proof.receipt
        found = check_transaction(
            final, transaction_id, _bytes(transaction.leaf), _place(transaction), _bytes(receipt.leaf), _place(receipt)
        )
        shown = {
            "transaction_id": transaction_id.hex(),
            "took_effect": not found.failure,
            "failure": found.failure,
            "fee_units": str(found.fee_units),
            "events": [name for name, _ in found.events],
        }
        return final, shown

    def follow(self) -> None:
        """Goes on to the last epoch that the node can prove; what was proven is remembered at once."""
        try:
            while self._follow_some():
                pass
        finally:
            self.store.save(self.light)

    def final(self, height: int, *, is_latest: bool = False) -> Final:
        """The final block at a height; the witnesses agree with it."""
        shown = self.node.call_as(LightBlockView, "light_block", height=height)
        if shown.epoch > self.light.newest.number:  # the epoch ended in the meantime
            self.follow()
        final = self.light.check_final(_bytes(shown.header), _bytes(shown.finality), is_latest=is_latest)
        if final.header.height != height:
            raise LightRefused(LightReason.WRONG_BLOCK, f"height {final.header.height}, not {height}")
        self.store.save(self.light)
        for url in self.trust.witness_urls:
            self._hear(url, final)
        return final

    def _begin(self) -> LightClient:
        if self._genesis is not None:
            return LightClient.from_genesis(encode(self._genesis), self._genesis.hash())
        height, block_id = _start(self.trust.start or "")
        shown = self.node.call_as(LightBlockView, "light_block", height=height)
        if shown.handover is None:
            nearest = f"; the node names {shown.epoch_end_height}" if shown.epoch_end_height is not None else ""
            raise ConfigError(f"--trust takes the last block of an epoch, {height} is none{nearest}")
        nodes = [_bytes(node) for node in shown.handover.nodes]
        return LightClient.from_block(height, block_id, _bytes(shown.header), _bytes(shown.handover.governing), nodes)

    def _follow_some(self) -> bool:
        """Whether there may be more."""
        first = self.light.newest.number
        calls = [("light_block", {"epoch": epoch}) for epoch in range(first, first + EPOCHS_AT_ONCE)]
        for answer in self.node.batch(calls)[:EPOCHS_AT_ONCE]:
            if isinstance(answer, CallFailed):
                if answer.reason == "too_large" and self.light.newest.number > first:
                    return True
                if answer.reason == "not_found":
                    return False
                raise answer
            shown = _read(answer)
            if shown.handover is None:
                raise LightRefused(LightReason.NOT_EPOCH_END, "the node does not say who governs the next epoch")
            nodes = [_bytes(node) for node in shown.handover.nodes]
            self.light.follow(_bytes(shown.header), _bytes(shown.finality), _bytes(shown.handover.governing), nodes)
        return self.light.newest.number > first

    def _hear(self, url: str, final: Final) -> None:
        """Raises: WitnessDisagrees, NetworkError when it does not show the block in time."""
        deadline_s = time.monotonic() + WITNESS_WAIT_S
        with Client(url) as witness:
            while True:
                try:
                    shown = witness.call_as(LightBlockView, "light_block", height=final.header.height)
                    break
                except CallFailed as error:
                    if error.reason != "not_found" or time.monotonic() > deadline_s:
                        raise NetworkError(f"the witness {url} does not show the block: {error}") from error
                time.sleep(POLL_S)
        there = "no block that can be read"
        try:
            header = read_header(_bytes(shown.header))
            if header == final.header:
                return
            there = f"block {header.id.hex()} of height {header.height}"
            self.light.check_final(_bytes(shown.header), _bytes(shown.finality))
            word = "and proves it final too: validators with a third of the power or more signed both"
        except LightRefused as error:
            word = f"but does not prove it final ({error})"
        raise WitnessDisagrees(
            f"at height {final.header.height} {self.trust.node_url} has block {final.block_id.hex()}, "
            f"{url} has {there}, {word}"
        )


def _genesis_file(trust: Trust) -> Path:
    path = trust.genesis or Home(trust.home).path / GENESIS_FILE
    if not path.exists():
        raise ConfigError(f"{path} is missing: give --genesis FILE or --trust HEIGHT:BLOCK_ID, from whom you trust")
    return path


def _root_of(start: str | None) -> str:
    height, block_id = _start(start or "")
    return f"{height}:{block_id.hex()}"


def _start(text: str) -> tuple[int, bytes]:
    height, _, block_id = text.partition(":")
    if not height.isascii() or not height.isdecimal() or len(height) > LONGEST_HEIGHT:
        raise ConfigError("--trust is HEIGHT:BLOCK_ID")
    return int(height), _hash32(block_id, "the block id in --trust")


def _hash32(text: str, what: str) -> bytes:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != HASH_SIZE_BYTES or len(text) != 2 * HASH_SIZE_BYTES:
        raise ConfigError(f"{what} is 64 hexadecimal digits")
    return found


def _address(text: str) -> bytes:
    try:
        return parse_address(text)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _bytes(text: str) -> bytes:
    """What the node sends as hexadecimal."""
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise LightRefused(LightReason.MALFORMED, "hexadecimal is wanted") from error


def _place(view: MerkleProofView) -> Place:
    if len(view.siblings) > MOST_SIBLINGS:
        raise LightRefused(LightReason.TOO_LARGE, "siblings")
    return Place(view.index, view.count, [_bytes(each) for each in view.siblings])


def _read(answer: msgspec.Raw) -> LightBlockView:
    try:
        return msgspec.json.decode(answer, type=LightBlockView)
    except msgspec.DecodeError as error:
        raise NetworkError(f"the answer is not one of this program's nodes: {error}") from error
