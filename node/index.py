"""The explorer's index: what a block's transactions were about, by account, datanet, model, question and time.

Everything in it follows from final blocks and their receipts, so its directory may be deleted: it is built again. One
batch per block carries the index's own height; after a crash it goes on from there. A key is one `Shelf` byte, the
owner (a fixed size per shelf) and the position; positions sort as the chain does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import islice
from typing import Annotated, Protocol

from node.errors import MessageRejected
from node.execution.block import Executed
from node.execution.registry import EVENTS, KIND_OF
from node.execution.transaction import Candidate, read_transaction
from node.modules.accounts import Transfer
from node.modules.attributions import Answered, Asked
from node.modules.datanets import Contribute, Contributed, CreateDatanet, DatanetCreated, DuplicateRejected
from node.modules.governance import ProposalChanged
from node.modules.models import ModelChanged, RegisterModel
from node.modules.rewards import Paid, Settled
from node.primitives.codec import decode, encode, wire_fields
from node.primitives.crypto import Address, Hash
from node.primitives.plain import marker_of
from node.storage.blocks import BlockStore
from node.storage.kv import KeyValueStore
from node.types.block import Header, ValidatorId
from node.types.receipt import Event, Receipt
from node.types.transaction import Height

VERSION = 1
"""Of the layout below: another one is built anew."""
INDEX_BITS = 16
"""Bits of a transaction's, an event's or a record's index inside a position."""
PLACE_SIZE_BYTES = 8
"""Height and transaction index: the position of a transaction."""
POSITION_SIZE_BYTES = 10
"""The same and an event's or a record's index: the position of anything else."""
DAY_MS = 86_400_000
WIPED_AT_ONCE = 10_000
END = b"\xff" * 16
"""Above every position."""

_TRANSFER = KIND_OF[Transfer].number


class Shelf(IntEnum):
    """First byte of a key: what stands there."""

    TIP = 1
    """How far the index is (one value)."""
    TOTALS = 2
    """Running totals (one value)."""
    DAY = 3
    """Totals by day since 1970."""
    BLOCK = 4
    """Summaries of blocks by height."""
    BUSY = 5
    """Numbers of transactions by height, of the blocks that have any."""
    TRANSACTION = 6
    """Places of transactions by id."""
    ANSWER = 7
    """Answers by question."""
    SETTLEMENT = 8
    """Settlements by question: the event's bytes."""
    CONTENT = 9
    """Datanets that a content was offered to, by content and datanet."""
    CONTRIBUTOR = 10
    """Accounts that contributed."""
    NAME = 11
    """Datanets and models by what people call them."""
    # Listings: things by owner and position.
    ACCOUNT_TRANSACTIONS = 32
    """Transactions by any party."""
    PAYMENTS = 33
    """Payments: the transaction's id and the event's bytes. The listings below hold nothing: look here."""
    PAYMENTS_OF_ACCOUNT = 34
    PAYMENTS_OF_RECORD = 35
    PAYMENTS_OF_MODEL = 36
    PAYMENTS_OF_QUESTION = 37
    DATANETS = 38
    """Ids of datanets."""
    CONTRIBUTIONS_OF_DATANET = 39
    """Ids of contributions."""
    CONTRIBUTIONS_OF_ACCOUNT = 40
    RECORDS_OF_DATANET = 41
    """Datanet and content of records, offered ones included."""
    RECORDS_OF_ACCOUNT = 42
    MODELS = 43
    """Ids of models."""
    MODELS_OF_DATANET = 44
    MODELS_OF_OWNER = 45
    """Models an account registered or was handed."""
    QUESTIONS = 46
    """Ids of questions."""
    QUESTIONS_OF_MODEL = 47
    QUESTIONS_OF_ASKER = 48
    ANSWERS = 49
    """Ids of answered questions, by the answer's position."""
    ANSWERS_OF_MODEL = 50
    PROPOSALS = 52
    """Ids of proposals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexTip:
    """How far an index is."""

    version: Annotated[int, range(2**16)]
    """Its layout."""
    height: Height
    """The last block in it."""
    block_id: Hash
    """That block: an index of another chain, or of a store that was replaced, is built anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What happened, since genesis or in a day."""

    blocks: Annotated[int, range(2**63)] = 0
    """Blocks, the genesis block included."""
    transactions: Annotated[int, range(2**63)] = 0
    """Transactions in them."""
    failed_transactions: Annotated[int, range(2**63)] = 0
    """Of these, the ones that took no effect."""
    questions: Annotated[int, range(2**63)] = 0
    """Questions asked."""
    answers: Annotated[int, range(2**63)] = 0
    """Questions answered."""
    payments: Annotated[int, range(2**63)] = 0
    """Payments to records."""
    paid_units: Annotated[int, range(2**63)] = 0
    """Their sum."""
    records: Annotated[int, range(2**63)] = 0
    """Records offered, duplicates left out."""
    contributors: Annotated[int, range(2**63)] = 0
    """Accounts that contributed for the first time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockEntry:
    """What a listing shows of a block."""

    block_id: Hash
    """Its id."""
    epoch: Annotated[int, range(1, 2**48)]
    """Its epoch."""
    view: Annotated[int, range(2**48)]
    """The view it was proposed in."""
    time_ms: Annotated[int, range(2**48)]
    """Its time."""
    proposer: ValidatorId
    """Who proposed it."""
    transaction_count: Annotated[int, range(2**16)]
    """Transactions in it."""
    failed_count: Annotated[int, range(2**16)]
    """Of these, the ones that took no effect."""
    size_bytes: Annotated[int, range(2**32)]
    """Bytes of its transactions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Where a question was answered."""

    position: Annotated[bytes, range(POSITION_SIZE_BYTES, POSITION_SIZE_BYTES + 1)]
    """The event's position."""
    transaction_id: Hash
    """The transaction."""
    answered: Annotated[bytes, range(4097)]
    """The event's bytes."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a listing."""

    position: bytes
    """Where it stands."""
    value: bytes
    """What the shelf says it holds."""


@dataclass(frozen=True, slots=True)
class Named:
    """Something with a name."""

    is_datanet: bool
    """A datanet; else a model."""
    id: bytes
    """Which."""


class Final(Protocol):
    """A block that became final (`node.replica.FinalBlock`)."""

    @property
    def executed(self) -> Executed:
        """The block and what it did."""


def place_of(height: int, index: int) -> bytes:
    """The position of a transaction."""
    return (height << INDEX_BITS | index).to_bytes(PLACE_SIZE_BYTES, "big")


def position_of(height: int, index: int, event: int) -> bytes:
    """The position of an event, or of a record in a contribution."""
    return ((height << INDEX_BITS | index) << INDEX_BITS | event).to_bytes(POSITION_SIZE_BYTES, "big")


def split_position(position: bytes) -> tuple[int, int, int]:
    """Height, transaction index and event index; the last is 0 in a transaction's place."""
    number = int.from_bytes(position.ljust(POSITION_SIZE_BYTES, b"\0"), "big")
    mask = (1 << INDEX_BITS) - 1
    return number >> 2 * INDEX_BITS, number >> INDEX_BITS & mask, number & mask


class Index:
    """The index of one node."""

    def __init__(self, store: KeyValueStore, blocks: BlockStore) -> None:
        self._store = store
        self._blocks = blocks
        self.is_live = False
        """Whether it is at the tip, and follows final blocks."""
        self.height = -1
        """The last block in it."""
        tip = self._load_tip()
        if tip is None:
            self._wipe()
        else:
            self.height = tip.height
        self._totals = self._totals_at(Shelf.TOTALS, b"")
        self._day = -1
        self._day_totals = Totals()

    # Following the chain.

    def on_final(self, final: Final) -> None:
        """A block is final. Before `catch_up` there is nothing to follow: the block is in the store."""
        executed = final.executed
        header = executed.block.header
        if not self.is_live or header.height <= self.height:
            return
        assert header.height == self.height + 1, "blocks become final in order"
        self._add(header, executed.block_id, executed.candidates, executed.receipts)

    def catch_up(self, progress: Callable[[int], None] | None = None) -> None:
        """Indexes the stored blocks up to the tip, then follows. `progress` learns the height now and then."""
        while not self.advance(100):
            if progress is not None:
                progress(self.height)
        self.is_live = True

    def advance(self, most_blocks: int) -> bool:
        """Indexes some stored blocks; returns whether the tip was reached. Before `catch_up`, any one thread may."""
        assert not self.is_live, "a live index has nothing to catch up with"
        first = self.height + 1 if self.height >= 0 else self._blocks.lowest_height - 1
        for height in range(first, first + most_blocks):
            block, receipts = self._blocks.block(height), self._blocks.receipts(height)
            if block is None or receipts is None:
                if height >= self._blocks.lowest_height:
                    return True
                self.height = self._blocks.lowest_height - 1  # what is pruned cannot be indexed any more
                return False
            candidates = [read_transaction(data, block.header.genesis_hash) for data in block.transactions]
            self._add(block.header, block.header.id(), candidates, receipts)
        return False

    # What it knows.

    def find_transaction(self, transaction_id: bytes) -> tuple[int, int] | None:
        """Height and index of a final transaction."""
        place = self._store.get(_key(Shelf.TRANSACTION, transaction_id))
        return None if place is None else split_position(place)[:2]

    def block(self, height: int) -> BlockEntry | None:
        """The summary of a block."""
        data = self._store.get(_key(Shelf.BLOCK, _height_key(height)))
        return None if data is None else decode(BlockEntry, data)

    def totals(self) -> Totals:
        """What happened since genesis."""
        return self._totals

    def day(self, day: int) -> Totals:
        """What happened on a day since 1970."""
        return self._totals_at(Shelf.DAY, _day_key(day))

    def page(
        self, shelf: Shelf, owner: bytes, after: bytes | None, limit: int, *, is_oldest_first: bool = False
    ) -> list[Entry]:
        """Lines of a listing beyond a position, newest first or oldest first."""
        prefix = _key(shelf, owner)
        if is_oldest_first:
            start, stop = prefix + (b"" if after is None else after + b"\0"), prefix + END
        else:
            start, stop = prefix, prefix + (END if after is None else after)
        lines = self._store.iterate(start, stop, is_reverse=not is_oldest_first)
        return [Entry(key[len(prefix) :], value) for key, value in islice(lines, limit)]

    def transactions(self, after: bytes | None, limit: int, *, is_oldest_first: bool = False) -> list[bytes]:
        """Places of all transactions beyond one, newest first or oldest first."""
        found: list[bytes] = []
        if after is not None:
            height, index, _ = split_position(after)
            count = self._transaction_count(height)
            rest = range(index + 1, count) if is_oldest_first else range(min(index, count) - 1, -1, -1)
            found.extend(place_of(height, each) for each in rest)
        busy = None if after is None else _height_key(split_position(after)[0])
        while len(found) < limit:
            entries = self.page(Shelf.BUSY, b"", busy, limit, is_oldest_first=is_oldest_first)
            for entry in entries:
                height = int.from_bytes(entry.position, "big")
                indices = range(int.from_bytes(entry.value, "big"))
                found.extend(place_of(height, each) for each in (indices if is_oldest_first else reversed(indices)))
                if len(found) >= limit:
                    break
            if len(entries) < limit:
                break
            busy = entries[-1].position
        return found[:limit]

    def payment(self, position: bytes) -> Entry | None:
        """A payment: the transaction's id and the event's bytes."""
        value = self._store.get(_key(Shelf.PAYMENTS, position))
        return None if value is None else Entry(position, value)

    def answer(self, question: bytes) -> Answer | None:
        """Where a question was answered."""
        data = self._store.get(_key(Shelf.ANSWER, question))
        return None if data is None else decode(Answer, data)

    def settlement(self, question: bytes) -> Settled | None:
        """How a question's fee was split."""
        data = self._store.get(_key(Shelf.SETTLEMENT, question))
        return None if data is None else decode(Settled, data)

    def datanets_of(self, content: bytes) -> list[bytes]:
        """Datanets that a content was offered to."""
        prefix = _key(Shelf.CONTENT, content)
        return [key[len(prefix) :] for key, _ in self._store.iterate(prefix, prefix + END * 3)]

    def named(self, beginning: str, limit: int) -> list[Named]:
        """Datanets and models whose name begins, or once began, in some way."""
        prefix = _key(Shelf.NAME, _name_key(beginning))
        lines = islice(self._store.iterate(prefix, prefix + END * 8), limit)
        return list(dict.fromkeys(Named(value[0] == 1, value[1:]) for _, value in lines))

    # Building it.

    def _add(
        self, header: Header, block_id: bytes, candidates: Sequence[Candidate], receipts: Sequence[Receipt]
    ) -> None:
        """One block: one batch."""
        page = _Page(self._store, header.height)
        for index, (candidate, receipt) in enumerate(zip(candidates, receipts, strict=True)):
            page.add(index, candidate, receipt)
        entry = summarise(header, block_id, [candidate.data for candidate in candidates], receipts)
        page.added.update(blocks=1, transactions=len(receipts), failed_transactions=entry.failed_count)
        changes = page.changes
        if receipts:
            changes[_key(Shelf.BUSY, _height_key(header.height))] = len(receipts).to_bytes(2, "big")
        changes[_key(Shelf.BLOCK, _height_key(header.height))] = encode(entry)
        totals, day = _grown(self._totals, page.added), header.time_ms // DAY_MS
        day_totals = _grown(self._day_totals if day == self._day else self.day(day), page.added)
        changes[_key(Shelf.TOTALS, b"")] = encode(totals)
        changes[_key(Shelf.DAY, _day_key(day))] = encode(day_totals)
        tip = IndexTip(version=VERSION, height=header.height, block_id=block_id)
        changes[_key(Shelf.TIP, b"")] = encode(tip)
        self._store.write(changes)
        self._totals, self._day, self._day_totals, self.height = totals, day, day_totals, header.height

    def _load_tip(self) -> IndexTip | None:
        """How far the stored index is; None when it cannot be used."""
        data = self._store.get(_key(Shelf.TIP, b""))
        if data is None:
            return None
        try:
            tip = decode(IndexTip, data)
        except MessageRejected:
            return None
        is_of_this_chain = tip.version == VERSION and self._blocks.height_of(tip.block_id) == tip.height
        return tip if is_of_this_chain else None

    def _wipe(self) -> None:
        while keys := [key for key, _ in islice(self._store.iterate(b"", END), WIPED_AT_ONCE)]:
            self._store.write(dict.fromkeys(keys))

    def _totals_at(self, shelf: Shelf, key: bytes) -> Totals:
        data = self._store.get(_key(shelf, key))
        return Totals() if data is None else decode(Totals, data)

    def _transaction_count(self, height: int) -> int:
        count = self._store.get(_key(Shelf.BUSY, _height_key(height)))
        return 0 if count is None else int.from_bytes(count, "big")


class _Page:
    """The lines one block adds."""

    def __init__(self, store: KeyValueStore, height: int) -> None:
        self._store = store
        self._height = height
        self.changes: dict[bytes, bytes | None] = {}
        self.added: Counter[str] = Counter()
        """What `Totals` counts."""

    def add(self, index: int, candidate: Candidate, receipt: Receipt) -> None:
        """A transaction. Transfers are most of what there is: their parties stand in the transaction itself."""
        changes = self.changes
        place = (self._height << INDEX_BITS | index).to_bytes(PLACE_SIZE_BYTES, "big")
        changes[_TRANSACTION + candidate.id] = place
        transaction = candidate.transaction
        changes[_OF_ACCOUNT + transaction.sender + place] = b""
        if transaction.kind == _TRANSFER:
            changes[_OF_ACCOUNT + candidate.payload.recipient + place] = b""
            return
        for position, event in enumerate(receipt.events):
            self._add_event(position_of(self._height, index, position), candidate, event, receipt)

    def _add_event(self, position: bytes, candidate: Candidate, event: Event, receipt: Receipt) -> None:
        event_class = EVENTS[event.name]
        happened: object = decode(event_class, event.payload)
        for name in _PARTIES[event_class]:
            self.changes[_OF_ACCOUNT + getattr(happened, name) + position[:PLACE_SIZE_BYTES]] = b""
        match happened:
            case Paid():
                self._add_payment(position, candidate.id, happened, event)
            case Settled(question=question):
                self._put(Shelf.SETTLEMENT, question, event.payload)
            case Answered():
                self._add_answer(position, candidate.id, happened, event)
            case Asked(question=question, model=model, asker=asker):
                self._list(Shelf.QUESTIONS, b"", position, question)
                self._list(Shelf.QUESTIONS_OF_MODEL, model, position, question)
                self._list(Shelf.QUESTIONS_OF_ASKER, asker, position, question)
                self.added.update(questions=1)
            case Contributed():
                self._add_contribution(position, candidate, happened, receipt)
            case DatanetCreated(datanet=datanet):
                assert isinstance(candidate.payload, CreateDatanet), "only this kind creates datanets"
                self._list(Shelf.DATANETS, b"", position, datanet)
                self._name(candidate.payload.name, Named(True, datanet))
            case ModelChanged():
                self._add_model(position, candidate, happened)
            case ProposalChanged(proposal=proposal) if proposal == candidate.id:
                self._list(Shelf.PROPOSALS, b"", position, proposal)
            case _:
                pass

    def _add_payment(self, position: bytes, transaction_id: bytes, paid: Paid, event: Event) -> None:
        self._list(Shelf.PAYMENTS, b"", position, transaction_id + event.payload)
        self._list(Shelf.PAYMENTS_OF_ACCOUNT, paid.recipient, position)
        self._list(Shelf.PAYMENTS_OF_RECORD, paid.record, position)
        self._list(Shelf.PAYMENTS_OF_MODEL, paid.model, position)
        self._list(Shelf.PAYMENTS_OF_QUESTION, paid.question, position)
        self.added.update(payments=1, paid_units=paid.amount_units)

    def _add_answer(self, position: bytes, transaction_id: bytes, answered: Answered, event: Event) -> None:
        answer = Answer(position=position, transaction_id=transaction_id, answered=event.payload)
        self._put(Shelf.ANSWER, answered.question, encode(answer))
        self._list(Shelf.ANSWERS, b"", position, answered.question)
        self._list(Shelf.ANSWERS_OF_MODEL, answered.model, position, answered.question)
        self.added.update(answers=1)

    def _add_contribution(
        self, position: bytes, candidate: Candidate, contributed: Contributed, receipt: Receipt
    ) -> None:
        assert isinstance(candidate.payload, Contribute), "only this kind contributes"
        datanet, contributor = contributed.datanet, contributed.contributor
        self._list(Shelf.CONTRIBUTIONS_OF_DATANET, datanet, position, contributed.contribution)
        self._list(Shelf.CONTRIBUTIONS_OF_ACCOUNT, contributor, position, contributed.contribution)
        height, index, _ = split_position(position)
        for number, content in fresh_records(candidate.payload, receipt):
            of_record = position_of(height, index, number)
            self._list(Shelf.RECORDS_OF_DATANET, datanet, of_record, datanet + content)
            self._list(Shelf.RECORDS_OF_ACCOUNT, contributor, of_record, datanet + content)
            self._put(Shelf.CONTENT, content + datanet, b"")
            self.added.update(records=1)
        known = _key(Shelf.CONTRIBUTOR, contributor)
        if known not in self.changes and self._store.get(known) is None:
            self.changes[known] = b""
            self.added.update(contributors=1)

    def _add_model(self, position: bytes, candidate: Candidate, changed: ModelChanged) -> None:
        if changed.what == "registered":
            self._list(Shelf.MODELS, b"", position, changed.model)
            self._list(Shelf.MODELS_OF_DATANET, changed.datanet, position, changed.model)
        if changed.what in ("registered", "transferred"):
            self._list(Shelf.MODELS_OF_OWNER, changed.owner, position, changed.model)
        if isinstance(candidate.payload, RegisterModel):
            self._name(candidate.payload.name, Named(False, changed.model))

    def _list(self, shelf: Shelf, owner: bytes, position: bytes, value: bytes = b"") -> None:
        self.changes[_key(shelf, owner) + position] = value

    def _put(self, shelf: Shelf, key: bytes, value: bytes) -> None:
        self.changes[_key(shelf, key)] = value

    def _name(self, name: str, named: Named) -> None:
        value = bytes((named.is_datanet,)) + named.id
        self.changes[_key(Shelf.NAME, _name_key(name)) + b"\0" + value] = value


def summarise(
    header: Header, block_id: bytes, transactions: Sequence[bytes], receipts: Sequence[Receipt]
) -> BlockEntry:
    """What a listing shows of a block."""
    return BlockEntry(
        block_id=block_id,
        epoch=header.epoch,
        view=header.view,
        time_ms=header.time_ms,
        proposer=header.proposer,
        transaction_count=len(receipts),
        failed_count=sum(receipt.failure != "" for receipt in receipts),
        size_bytes=sum(map(len, transactions)),
    )


def fresh_records(payload: Contribute, receipt: Receipt) -> list[tuple[int, bytes]]:
    """Index and content of the records of a contribution that stood nowhere before: of equal ones the first."""
    duplicates = Counter(
        decode(DuplicateRejected, event.payload).content
        for event in receipt.events
        if event.name == DuplicateRejected.NAME
    )
    fresh = []
    for index, reference in reversed(list(enumerate(payload.records))):
        if duplicates[reference.hash]:
            duplicates[reference.hash] -= 1
        else:
            fresh.append((index, reference.hash))
    return fresh[::-1]


def parties_of(candidate: Candidate, receipt: Receipt) -> set[Address]:
    """Every account a transaction concerns: its sender, a transfer's recipient, whoever an event names."""
    parties = {candidate.transaction.sender}
    if candidate.transaction.kind == _TRANSFER:
        parties.add(candidate.payload.recipient)
        return parties
    for event in receipt.events:
        event_class = EVENTS[event.name]
        happened: object = decode(event_class, event.payload)
        parties.update(getattr(happened, name) for name in _PARTIES[event_class])
    return parties


def _key(shelf: Shelf, key: bytes) -> bytes:
    return bytes((shelf,)) + key


def _height_key(height: int) -> bytes:
    return height.to_bytes(6, "big")


def _day_key(day: int) -> bytes:
    return day.to_bytes(4, "big")


def _name_key(name: str) -> bytes:
    return name.casefold().encode()


def _grown(totals: Totals, added: Counter[str]) -> Totals:
    return Totals(**{name: getattr(totals, name) + added[name] for name in Totals.__slots__})


_TRANSACTION = _key(Shelf.TRANSACTION, b"")
_OF_ACCOUNT = _key(Shelf.ACCOUNT_TRANSACTIONS, b"")
_PARTIES = {
    event_class: tuple(name for name, hint in wire_fields(event_class) if marker_of(hint) == "address")
    for event_class in EVENTS.values()
}
"""Fields of each event that name an account."""
