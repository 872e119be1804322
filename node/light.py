"""A light client in one file: the standard library only, nothing of the node's, so that it can be copied alone.

    client = LightClient.from_genesis(genesis_bytes, genesis_hash)    # or from_block(...): an epoch's last block
    client.follow(header, finality, governing, nodes)                 # once per epoch, oldest first
    final = client.check_final(header, finality, is_latest=True)
    account = check_account(final, address, value_or_none, nodes)
    receipt = check_transaction(final, transaction_id, transaction, place, receipt_bytes, receipt_place)

Whoever serves the bytes is believed nothing: what is returned is true on the chain of the trusted start, or
`LightRefused` says why not, as long as validators with a third of each epoch's power or more did not conspire.

What a light client cannot know: whether a later block is final already (compare `time_ms` with a clock, ask several
nodes), whether a transaction that is not shown exists, whether the state follows the rules (validators with two
thirds vouch for that), and whether the trusted start is the chain that was meant.

Source: RFC 8032 and 9162 (Ed25519, list trees); node/state/tree.py, node/types/block.py and consensus/README.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn

VERSION = 1
"""The protocol version whose formats stand here."""
LARGEST_PROOF_SIZE_BYTES, LARGEST_SIZE_BYTES, DEEPEST_VALUE = 2**19, 2**25, 8
"""Of headers, certificates and values; of genesis, transactions and receipts; arrays in arrays."""
MOST_HEADERS, MOST_VALIDATORS, MOST_NODES, MOST_SIBLINGS = 1024, 100, 65, 32
FINALIZE, ACCOUNT_TABLE, GOVERNING_KEY = 3, b"\x10", b"\x20"

HEADER = (int, 32, int, int, int, 32, int, int, 20, 32, 32, 32, 32, 32, 32)
"""Shapes: a number is that many bytes, a list any count of one shape, a type itself."""
FINALITY = ([HEADER], ((int, int, int, 32), [(20, 64)]))
GOVERNING = (int, int, int, tuple, ([(20, 32, int)],))
GENESIS = (str, int, int, tuple, tuple, tuple, [(20, 32, int, tuple)], tuple, [(32, int, 32, int, 32)])
TRANSACTION = (int, 20, 32, int, int, int, bytes, 64)
RECEIPT = (32, str, int, [(str, bytes)])
ACCOUNT = (int, int, int, bytes, int)


class LightReason(StrEnum):
    """Why a proof is refused: a stable word for programs, a sentence for people."""

    sentence: str

    def __new__(cls, word: str, sentence: str) -> LightReason:
        member = str.__new__(cls, word)
        member._value_, member.sentence = word, sentence
        return member

    MALFORMED = "malformed", "The bytes are not the canonical encoding of what they should be."
    TOO_LARGE = "too_large", "The proof is larger than any true one."
    WRONG_VERSION = "wrong_version", "The block is of a later protocol version: use a later light client."
    WRONG_CHAIN = "wrong_chain", "It is of another chain than the trusted start."
    WRONG_BLOCK = "wrong_block", "It is about another block than the one asked for."
    WRONG_EPOCH = "wrong_epoch", "It belongs to another epoch than the block does."
    UNKNOWN_EPOCH = "unknown_epoch", "The client has not followed the chain to this epoch, or started after it."
    WRONG_KIND = "wrong_kind", "The certificate is no finalization."
    NOT_CHAINED = "not_chained", "The headers do not lead from the block to the certified one, parent by parent."
    WRONG_SET = "wrong_set", "The validators are not those whose hash the header has."
    NOT_EPOCH_END = "not_epoch_end", "The block is not the last of its epoch: it changes no validators."
    DOUBLE_VALIDATOR = "double_validator", "A validator is counted twice, or they are out of order."
    UNKNOWN_VALIDATOR = "unknown_validator", "Somebody signed who is no validator of this epoch."
    TOO_LITTLE_POWER = "too_little_power", "The signers hold two thirds of the voting power or less."
    BAD_SIGNATURE = "bad_signature", "A validator's signature does not verify."
    STALE = "stale", "A later block was final before: the node shows an old state as the newest."
    NOT_INCLUDED = "not_included", "The bytes do not stand under the root in the header."
    WRONG_TRANSACTION = "wrong_transaction", "The transaction shown has another id."
    WRONG_RECEIPT = "wrong_receipt", "The receipt shown is of another transaction."
    FALSE_STATE = "false_state", "The state root in the header does not hold this value, or this absence."


class LightRefused(Exception):
    """A proof is refused, for a stable reason."""

    def __init__(self, reason: LightReason, detail: str = "") -> None:
        super().__init__(f"{reason.value}: {reason.sentence}" + (f" ({detail})" if detail else ""))
        self.reason, self.detail = reason, detail


class Header(NamedTuple):
    """A block header in wire order."""

    version: int
    genesis_hash: bytes
    height: int
    epoch: int
    view: int
    parent_id: bytes
    parent_view: int
    time_ms: int
    proposer: bytes
    transactions_root: bytes
    receipts_root: bytes
    state_root: bytes
    validator_set_hash: bytes
    parameters_hash: bytes
    next_validator_set_hash: bytes

    @property
    def id(self) -> bytes:
        """The block's identity."""
        return _hash("ol/block", pack(tuple(self)))


class Epoch(NamedTuple):
    """Who votes from a height on."""

    number: int
    first_height: int
    validators: tuple[tuple[bytes, bytes, int], ...]
    """Operator, consensus key and power of each, by the address of the key."""

    @property
    def set_hash(self) -> bytes:
        """What headers commit to."""
        return _hash("ol/validators", pack((self.validators,)))


@dataclass(frozen=True, slots=True)
class Final:
    """A header that is proven final, and who says so."""

    header: Header
    block_id: bytes
    certified_height: int
    """The block that the certificate names: this one or a descendant."""
    signers: tuple[bytes, ...]
    power: int
    total_power: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a leaf stands in a list tree."""

    index: int
    count: int
    siblings: Sequence[bytes]


class Account(NamedTuple):
    """An account's value; all zero when nobody has used the address."""

    balance_units: int
    bond_units: int
    nonce: int
    public_key: bytes
    roles: int


class Receipt(NamedTuple):
    """What a transaction did."""

    transaction_id: bytes
    failure: str
    """Empty when it took effect."""
    fee_units: int
    events: tuple[tuple[str, bytes], ...]


class LightClient:
    """Knows the validators of consecutive epochs, each from the one before."""

    def __init__(self, genesis_hash: bytes, epochs: Mapping[int, Epoch], newest_height: int = 0) -> None:
        """Continues where another client was: `epochs` and `newest_height` are its own, and trusted."""
        self.genesis_hash, self.epochs, self.newest_height = genesis_hash, dict(epochs), newest_height

    @classmethod
    def from_genesis(cls, genesis: bytes, genesis_hash: bytes) -> LightClient:
        """Starts at the first epoch; the hash is trusted, the bytes are checked against it."""
        if _hash("ol/genesis", genesis) != genesis_hash:
            _refuse(LightReason.WRONG_CHAIN, "these bytes do not have the genesis hash")
        fields = decode(genesis, GENESIS, LARGEST_SIZE_BYTES)
        members = tuple(sorted((entry[:3] for entry in fields[6]), key=lambda each: _address(each[1])))
        height, number = (fields[8][0][1] + 1, fields[8][0][3] + 1) if fields[8] else (1, 1)
        return cls(genesis_hash, {number: Epoch(number, height, members)})

    @classmethod
    def from_block(
        cls, height: int, block_id: bytes, header: bytes, governing: bytes, nodes: Sequence[bytes]
    ) -> LightClient:
        """Starts after an epoch's last block, whose height and id are trusted."""
        block = read_header(header)
        if (block.height, block.id) != (height, block_id):
            _refuse(LightReason.WRONG_BLOCK, "the header is not the trusted block's")
        first = _next_epoch(block, governing, nodes)
        return cls(block.genesis_hash, {first.number: first}, height)

    @property
    def newest(self) -> Epoch:
        """The last epoch followed to."""
        return self.epochs[max(self.epochs)]

    def follow(self, header: bytes, finality: bytes, governing: bytes, nodes: Sequence[bytes]) -> Final:
        """Goes on to the next epoch: by the last block of the newest one and the state it left."""
        if (epoch := read_header(header).epoch) != self.newest.number:
            _refuse(LightReason.WRONG_EPOCH, f"a block of epoch {self.newest.number} is wanted, not of {epoch}")
        final = self.check_final(header, finality)
        following = _next_epoch(final.header, governing, nodes)
        self.epochs[following.number] = following
        return final

    def check_final(self, header: bytes, finality: bytes, *, is_latest: bool = False) -> Final:
        """A block whose finality is proven; `is_latest`: refused when a later one was proven before."""
        block = read_header(header)
        headers, (statement, signatures) = decode(finality, FINALITY)
        if len(headers) > MOST_HEADERS or len(signatures) > MOST_VALIDATORS:
            _refuse(LightReason.TOO_LARGE)
        epoch = self.epochs.get(block.epoch)
        if epoch is None:
            _refuse(LightReason.UNKNOWN_EPOCH, f"epoch {block.epoch}")
        chain = [block, *(Header(*each) for each in headers)]
        set_hash = epoch.set_hash
        for each in chain:
            self._require_of(each, epoch, set_hash)
        ids = [each.id for each in chain]
        for parent_id, parent, child in zip(ids, chain, chain[1:], strict=False):
            if (child.parent_id, child.height) != (parent_id, parent.height + 1):
                _refuse(LightReason.NOT_CHAINED, f"at height {child.height}")
        signers, power, total = self._require_certified(epoch, ids[-1], statement, signatures)
        if is_latest and block.height < self.newest_height:
            _refuse(LightReason.STALE, f"height {block.height} after height {self.newest_height}")
        self.newest_height = max(self.newest_height, chain[-1].height)
        return Final(block, ids[0], chain[-1].height, signers, power, total)

    def _require_of(self, block: Header, epoch: Epoch, set_hash: bytes) -> None:
        following = self.epochs.get(epoch.number + 1)
        if block.version != VERSION:
            _refuse(LightReason.WRONG_VERSION)
        if block.genesis_hash != self.genesis_hash:
            _refuse(LightReason.WRONG_CHAIN)
        is_after = following is not None and block.height >= following.first_height
        if block.epoch != epoch.number or block.height < epoch.first_height or is_after:
            _refuse(LightReason.WRONG_EPOCH, f"height {block.height}")
        if block.validator_set_hash != set_hash:
            _refuse(LightReason.WRONG_SET)

    def _require_certified(
        self, epoch: Epoch, block_id: bytes, statement: tuple[int, int, int, bytes], signatures: Sequence[Any]
    ) -> tuple[tuple[bytes, ...], int, int]:
        if statement[0] != FINALIZE:
            _refuse(LightReason.WRONG_KIND)
        if statement[1] != epoch.number:
            _refuse(LightReason.WRONG_EPOCH, "the certificate's")
        if statement[3] != block_id:
            _refuse(LightReason.WRONG_BLOCK, "the certificate's")
        members = {_address(key): (key, power) for _, key, power in epoch.validators}
        signers = tuple(signer for signer, _ in signatures)
        if list(signers) != sorted(set(signers)):
            _refuse(LightReason.DOUBLE_VALIDATOR)
        if not members.keys() >= set(signers):
            _refuse(LightReason.UNKNOWN_VALIDATOR)
        power, total = sum(members[each][1] for each in signers), sum(each[1] for each in members.values())
        if not 3 * power > 2 * total:
            _refuse(LightReason.TOO_LITTLE_POWER, f"{power} of {total}")
        digest = _hash("ol/finalize", self.genesis_hash + pack(statement))
        for signer, signature in signatures:
            if not is_valid_signature(members[signer][0], digest, signature):
                _refuse(LightReason.BAD_SIGNATURE, f"of {signer.hex()}")
        return signers, power, total


def check_transaction(
    final: Final, transaction_id: bytes, transaction: bytes, place: Place, receipt: bytes, receipt_place: Place
) -> Receipt:
    """What a transaction did that stands in a final block; its index is not proven, its being there is."""
    fields = decode(transaction, TRANSACTION, LARGEST_SIZE_BYTES)
    if _hash("ol/transaction", final.header.genesis_hash + pack(fields[:-1])) != transaction_id:
        _refuse(LightReason.WRONG_TRANSACTION)
    _require_included(final.header.transactions_root, transaction, place, "the transaction")
    found = Receipt(*decode(receipt, RECEIPT, LARGEST_SIZE_BYTES))
    if found.transaction_id != transaction_id:
        _refuse(LightReason.WRONG_RECEIPT)
    _require_included(final.header.receipts_root, receipt, receipt_place, "the receipt")
    return found


def check_account(final: Final, address: bytes, value: bytes | None, nodes: Sequence[bytes]) -> Account:
    """An account's value in the state after a final block; `value` is None when there is to be none."""
    check_state(final.header.state_root, ACCOUNT_TABLE + address, value, nodes)
    return Account(0, 0, 0, b"", 0) if value is None else Account(*decode(value, ACCOUNT))


def check_state(root: bytes, key: bytes, value: bytes | None, nodes: Sequence[bytes]) -> None:
    """Refuses unless the nodes, root first, show a state key's value, or its absence when that is None."""
    key_hash = hashlib.sha256(key).digest()
    digits, expected = key_hash.hex(), root
    if len(nodes) > MOST_NODES:
        _refuse(LightReason.TOO_LARGE)
    is_last = not nodes and root == bytes(32) and value is None  # the empty state
    for depth, node in enumerate(nodes):
        if is_last or hashlib.sha256(node).digest() != expected:
            _refuse(LightReason.FALSE_STATE, f"node {depth}")
        bitmap = int.from_bytes(node[1:3], "big")
        if len(node) == 65 and node[0] == 0:  # a leaf: 0x00, hash of the key, hash of the value
            is_own = node[1:33] == key_hash and value is not None and node[33:] == hashlib.sha256(value).digest()
            is_other = node[1:33] != key_hash and value is None and node[1:33].hex()[:depth] == digits[:depth]
            if not (is_own or is_other):
                _refuse(LightReason.FALSE_STATE, "the leaf")
            is_last = True
        elif node[:1] == b"\x01" and depth < 64 and len(node) == 3 + 32 * bitmap.bit_count():
            bit = 1 << int(digits[depth], 16)  # a branch: 0x01, which of 16 children are there, their hashes
            start = 3 + 32 * (bitmap & bit - 1).bit_count()
            expected, is_last = node[start : start + 32], not bitmap & bit and value is None
            if not bitmap & bit and not is_last:
                _refuse(LightReason.FALSE_STATE, "there is nothing under the key")
        else:
            _refuse(LightReason.FALSE_STATE, f"node {depth} is no node")
    if not is_last:
        _refuse(LightReason.FALSE_STATE, "the path ends early")


def _next_epoch(block: Header, governing: bytes, nodes: Sequence[bytes]) -> Epoch:
    """What the state after an epoch's last block says of the next epoch."""
    check_state(block.state_root, GOVERNING_KEY, governing, nodes)
    _, number, first_height, _, (validators,) = decode(governing, GOVERNING)
    if (number, first_height) != (block.epoch + 1, block.height + 1):
        _refuse(LightReason.NOT_EPOCH_END, f"height {block.height}")
    following = Epoch(number, first_height, validators)
    if following.set_hash != block.next_validator_set_hash:
        _refuse(LightReason.WRONG_SET, "the next one")
    return following


def _require_included(root: bytes, leaf: bytes, place: Place, what: str) -> None:
    """Source: RFC 9162, section 2.1.3.2."""
    index, last, siblings = place.index, place.count - 1, list(place.siblings)
    if len(siblings) > MOST_SIBLINGS or not 0 <= index <= last < 2**MOST_SIBLINGS:
        _refuse(LightReason.NOT_INCLUDED, what)
    digest = hashlib.sha256(b"\x00" + leaf).digest()
    while last:
        if index & 1 or index != last:
            if not siblings or len(siblings[0]) != 32:
                _refuse(LightReason.NOT_INCLUDED, what)
            sibling = siblings.pop(0)
            pair = sibling + digest if index & 1 else digest + sibling
            digest = hashlib.sha256(b"\x01" + pair).digest()
        index, last = index >> 1, last >> 1
    if siblings or digest != root:
        _refuse(LightReason.NOT_INCLUDED, what)


def read_header(data: bytes) -> Header:
    """A header, of which nothing is proven."""
    return Header(*decode(data, HEADER))


def _hash(tag: str, data: bytes) -> bytes:
    return hashlib.sha256(tag.encode().ljust(16, b"\0") + data).digest()


def _address(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()[:20]


def _refuse(reason: LightReason, detail: str = "") -> NoReturn:
    raise LightRefused(reason, detail)


# Canonical MessagePack: of what stands in proofs there are unsigned integers, bytes, text and arrays.

_WIDTHS: dict[type, tuple[tuple[int, int], ...]] = {
    int: ((0xCC, 1), (0xCD, 2), (0xCE, 4), (0xCF, 8)),
    bytes: ((0xC4, 1), (0xC5, 2), (0xC6, 4)),
    str: ((0xD9, 1), (0xDA, 2), (0xDB, 4)),
    tuple: ((0xDC, 2), (0xDD, 4)),
}
_SHORT: dict[type, tuple[int, int]] = {int: (0, 128), bytes: (0, 0), str: (0xA0, 32), tuple: (0x90, 16)}
_CODES = {code: (kind, width) for kind, widths in _WIDTHS.items() for code, width in widths}


def decode(data: bytes, shape: Any, largest_size_bytes: int = LARGEST_PROOF_SIZE_BYTES) -> Any:
    """The value that some bytes are the one canonical encoding of, if it has a shape."""
    if len(data) > largest_size_bytes:
        _refuse(LightReason.TOO_LARGE)
    try:
        value, end = _read(data, 0, DEEPEST_VALUE)
        if end == len(data) and _has_shape(value, shape) and pack(value) == data:
            return value
    except (IndexError, KeyError, ValueError):
        pass
    return _refuse(LightReason.MALFORMED)


def pack(value: Any) -> bytes:
    """The canonical encoding of a value."""
    if isinstance(value, int):
        return _head(int, value)
    if isinstance(value, tuple):
        return _head(tuple, len(value)) + b"".join(map(pack, value))
    data = value.encode() if isinstance(value, str) else value
    return _head(type(value), len(data)) + data


def _head(kind: type, number: int) -> bytes:
    first, count = _SHORT[kind]
    if number < count:
        return bytes((first | number,))
    code, width = next(each for each in _WIDTHS[kind] if number < 256 ** each[1])
    return bytes((code,)) + number.to_bytes(width, "big")


def _read(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    code, at = data[at], at + 1
    if code < 0x80:
        return code, at
    kind: type = tuple if code < 0xA0 else str
    number = code & (15 if code < 0xA0 else 31)
    if not 0x90 <= code < 0xC0:
        kind, width = _CODES[code]
        number, at = int.from_bytes(data[at : at + width], "big"), at + width
    if kind is int:
        return number, at
    if kind is not tuple:
        part = data[at : at + number]
        return (part if kind is bytes else part.decode()), at + number
    items = []
    for _ in range(number if depth else data[len(data)]):  # too deep reads as ending early
        item, at = _read(data, at, depth - 1)
        items.append(item)
    return tuple(items), at


def _has_shape(value: Any, shape: Any) -> bool:
    if isinstance(shape, list):
        return type(value) is tuple and all(_has_shape(each, shape[0]) for each in value)
    if isinstance(shape, tuple):
        return type(value) is tuple and len(value) == len(shape) and all(map(_has_shape, value, shape))
    return type(value) is bytes and len(value) == shape if isinstance(shape, int) else type(value) is shape


# Ed25519 as the validators decide it: S < L, A and R canonical and not of small order, S·B = R + k·A without cofactor.

P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int, int, int]
"""X, Y, Z and T with x = X/Z, y = Y/Z, x·y = T/Z."""
NEUTRAL: Point = (0, 1, 1, 0)
MINUS_B = bytes.fromhex("58" + "66" * 30 + "e6")
"""The encoding of the base point's negative."""


def is_valid_signature(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether a signature is a key's over a message: every validator's decision, to the bit."""
    if len(public_key) != 32 or len(signature) != 64:
        return False
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    key, base = _powers_of_negative(public_key), _powers_of_negative(MINUS_B)
    if s >= L or key is None or base is None:
        return False
    k = int.from_bytes(hashlib.sha512(r + public_key + message).digest(), "little") % L
    point = _sum_of_multiples(((s, base), (k, key)))
    inverse = pow(point[2], -1, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little") == r and not _is_small_order(point)


@lru_cache(256)
def _powers_of_negative(encoded: bytes) -> tuple[Point, ...] | None:
    """16^i times the negative of a point, for every digit of a scalar; None for what is no key. RFC 8032, 5.1.3."""
    number = int.from_bytes(encoded, "little")
    sign, y = number >> 255, number & (1 << 255) - 1
    u, v = y * y - 1, D * y * y + 1
    x = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    if (v * x * x - u) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if y >= P or (v * x * x - u) % P or (x == 0 and sign):
        return None
    x = x if x & 1 != sign else (P - x) % P
    point: Point = (x, y, 1, x * y % P)
    if _is_small_order(point):
        return None
    powers = [point]
    for _ in range(63):
        for _ in range(4):
            point = _add(point, point)
        powers.append(point)
    return tuple(powers)


def _sum_of_multiples(terms: Sequence[tuple[int, tuple[Point, ...]]]) -> Point:
    """The sum of scalars times points: each power of 16 goes to its digit's bucket. Source: Pippenger 1976."""
    buckets = [NEUTRAL] * 16
    for scalar, powers in terms:
        for place, power in enumerate(powers):
            if digit := scalar >> 4 * place & 15:
                buckets[digit] = _add(buckets[digit], power)
    total = running = NEUTRAL
    for bucket in reversed(buckets[1:]):
        running = _add(running, bucket)
        total = _add(total, running)
    return total


def _is_small_order(point: Point) -> bool:
    for _ in range(3):
        point = _add(point, point)
    return point[0] % P == 0 and (point[1] - point[2]) % P == 0


def _add(left: Point, right: Point) -> Point:
    """The complete addition law. Source: RFC 8032, section 5.1.4."""
    (x1, y1, z1, t1), (x2, y2, z2, t2) = left, right
    a, b = (y1 - x1) * (y2 - x2) % P, (y1 + x1) * (y2 + x2) % P
    c, d = 2 * D * t1 * t2 % P, 2 * z1 * z2 % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P
