"""One transaction: what keeps it out of every block, and what a failed one leaves behind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from node.errors import TransactionReason, TransactionRejected
from node.execution.registry import EVENTS, KIND_NAMED, KIND_OF, KINDS
from node.execution.transaction import read_transaction, require_signature, required_fee
from node.modules.accounts import Transfer
from node.modules.context import BlobRef
from node.modules.datanets import Contribute
from node.primitives.amount import format_open
from node.primitives.codec import encode
from node.types.parameters import LARGEST_TRANSACTION_SIZE_BYTES, Parameters
from node.types.transaction import Transaction, sign_transaction
from tests.factories import FAR_HEIGHT, RICH_UNITS, make_chain, make_key
from tests.node.ledger import FEE_UNITS, Ledger, make_ledger
from tests.node.modules.scenes import PARAMETERS


@pytest.fixture(name="ledger")
def ledger_fixture() -> Ledger:
    return make_ledger(make_chain(parameters=PARAMETERS))


def transfer(ledger: Ledger, amount_units: int = 1) -> Transfer:
    return Transfer(recipient=ledger.chain.users[1].address, amount_units=amount_units)


def signed(ledger: Ledger, **changes: object) -> Transaction:
    """A transfer by the first user, signed after the changes."""
    body: dict[str, object] = {
        "kind": KIND_OF[Transfer].number,
        "nonce": 0,
        "fee_units": FEE_UNITS,
        "valid_until_height": FAR_HEIGHT,
        "payload": encode(transfer(ledger)),
        **changes,
    }
    return sign_transaction(ledger.chain.users[0], ledger.chain.genesis_hash, **body)  # type: ignore[arg-type]


def refusal(ledger: Ledger, data: bytes) -> tuple[TransactionReason, str]:
    with pytest.raises(TransactionRejected) as found:
        require_signature(read_transaction(data, ledger.chain.genesis_hash))
    return found.value.reason, found.value.detail


# Bytes.


def test_what_is_signed_reads_back(ledger: Ledger) -> None:
    transaction = signed(ledger)
    candidate = read_transaction(encode(transaction), ledger.chain.genesis_hash)
    require_signature(candidate)
    assert candidate.transaction == transaction
    assert candidate.payload == transfer(ledger)
    assert candidate.kind.name == "transfer"
    assert candidate.id == transaction.id(ledger.chain.genesis_hash)


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        (lambda data: b"", "Unpack failed: incomplete input"),
        (lambda data: data[:-1], "Unpack failed: incomplete input"),
        (lambda data: data + b"\0", "unpack(b) received extra data."),
        (lambda data: b"\x01", "Transaction is an array of 8"),
        (lambda data: b"\x97" + data[1:-66], "Transaction is an array of 8"),
        (lambda data: data[:1] + b"\xcc" + data[1:], "not_canonical"),
    ],
    ids=["nothing", "cut", "longer", "a number", "a field less", "a longer form of the same number"],
)
def test_bytes_that_are_no_transaction_are_malformed(ledger: Ledger, change: object, detail: str) -> None:
    data = change(encode(signed(ledger)))  # type: ignore[operator]
    assert refusal(ledger, data) == (TransactionReason.MALFORMED, detail)


@pytest.mark.parametrize("kind", [0, 3, 99, 255])
def test_a_kind_nobody_knows_is_refused(ledger: Ledger, kind: int) -> None:
    assert refusal(ledger, encode(signed(ledger, kind=kind))) == (TransactionReason.UNKNOWN_KIND, f"kind {kind}")


AMOUNT_LIMITS = "Transfer.amount_units is in 1..9223372036854775807"


@pytest.mark.parametrize(
    ("payload", "detail"),
    [
        (b"", "Unpack failed: incomplete input"),
        (encode(Transfer(recipient=bytes(20), amount_units=0)), AMOUNT_LIMITS),
        (encode(Transfer(recipient=bytes(20), amount_units=-5)), AMOUNT_LIMITS),
        (encode(Transfer(recipient=bytes(20), amount_units=2**63)), AMOUNT_LIMITS),
        (encode(Transfer(recipient=bytes(21), amount_units=1)), "Transfer.recipient has 20..20 items"),
        (encode(Contribute(datanet=bytes(32), records=())), "Transfer.recipient has 20..20 items"),
        (encode(Transfer(recipient=bytes(20), amount_units=5)) + b"\0", "unpack(b) received extra data."),
    ],
    ids=["empty", "nothing", "negative", "overflow", "long address", "another kind's", "longer"],
)
def test_a_payload_outside_its_limits_is_refused(ledger: Ledger, payload: bytes, detail: str) -> None:
    assert refusal(ledger, encode(signed(ledger, payload=payload))) == (
        TransactionReason.BAD_PAYLOAD,
        f"transfer: {detail}",
    )


# Signatures and keys.


@pytest.mark.parametrize("field", ["nonce", "fee_units", "valid_until_height"])
def test_whatever_is_changed_after_signing_breaks_the_signature(ledger: Ledger, field: str) -> None:
    transaction = signed(ledger)
    changed = replace(transaction, **{field: getattr(transaction, field) - 1 if field != "nonce" else 1})
    assert refusal(ledger, encode(changed)) == (TransactionReason.BAD_SIGNATURE, "")


def test_a_signature_for_another_chain_or_by_another_key_is_refused(ledger: Ledger) -> None:
    candidate = ledger.sign(ledger.chain.users[0], transfer(ledger), genesis_hash=bytes(32), is_checked=False)
    assert refusal(ledger, candidate.data) == (TransactionReason.BAD_SIGNATURE, "")
    stolen = replace(signed(ledger), public_key=ledger.chain.users[1].public_key)
    assert refusal(ledger, encode(stolen)) == (TransactionReason.BAD_SIGNATURE, "")


def test_a_key_that_is_not_the_accounts_is_refused(ledger: Ledger) -> None:
    victim = ledger.chain.users[1].address
    ledger.refuses(ledger.chain.users[0], transfer(ledger), TransactionReason.WRONG_KEY, sender=victim)


# What the state says.


def test_a_nonce_is_the_next_one_exactly(ledger: Ledger) -> None:
    user = ledger.chain.users[0]
    ledger.do_all([(user, transfer(ledger)), (user, transfer(ledger))])
    for nonce in (0, 1):
        ledger.refuses(user, transfer(ledger), TransactionReason.NONCE_TOO_LOW, "the next nonce is 2", nonce=nonce)
    for nonce in (3, 2**48 - 1):
        ledger.refuses(user, transfer(ledger), TransactionReason.NONCE_TOO_HIGH, "the next nonce is 2", nonce=nonce)
    ledger.do(user, transfer(ledger), nonce=2)


def test_a_transaction_stands_in_one_block_only(ledger: Ledger) -> None:
    candidate = ledger.sign(ledger.chain.users[0], transfer(ledger))
    ledger.add_block(candidate)
    ledger.refuses_candidate(candidate, TransactionReason.NONCE_TOO_LOW, "the next nonce is 1")


def test_a_transaction_is_valid_up_to_its_height(ledger: Ledger) -> None:
    user = ledger.chain.users[0]
    ledger.wait(4)
    ledger.refuses(user, transfer(ledger), TransactionReason.EXPIRED, "the chain is at height 5", valid_until_height=4)
    ledger.do(user, transfer(ledger), valid_until_height=5)


def test_a_fee_covers_base_and_bytes(ledger: Ledger) -> None:
    user = ledger.chain.users[0]
    size_bytes = len(ledger.sign(user, transfer(ledger), fee_units=20_000).data)
    needed = 10_000 + 10 * size_bytes
    reason, detail = TransactionReason.FEE_TOO_LOW, f"{format_open(needed)} are needed"
    ledger.refuses(user, transfer(ledger), reason, detail, fee_units=needed - 1)
    ledger.do(user, transfer(ledger), fee_units=needed)


@pytest.mark.parametrize(("work_macs", "units"), [(0, 0), (1, 1_000), (10**6, 1_000), (10**6 + 1, 2_000)])
def test_work_is_paid_by_the_started_million(work_macs: int, units: int) -> None:
    assert required_fee(Parameters(), 0, work_macs) == 10_000 + units


def test_a_fee_nobody_can_pay_is_refused(ledger: Ledger) -> None:
    reason = TransactionReason.FEE_UNPAYABLE
    poor = make_key("poor")
    ledger.refuses(poor, transfer(ledger), reason, "the balance is 0 OPEN")
    user = ledger.chain.users[0]
    ledger.refuses(user, transfer(ledger), reason, "the balance is 1000000 OPEN", fee_units=RICH_UNITS + 1)
    ledger.fails(
        user,
        transfer(ledger),
        TransactionReason.INSUFFICIENT_BALANCE,
        "0 OPEN held, 0.000000001 OPEN needed",
        fee_units=RICH_UNITS,
    )


def test_fees_of_one_block_are_payable_one_after_the_other(ledger: Ledger) -> None:
    """The second of two that are payable alone is refused when the first took too much."""
    user = ledger.chain.users[0]
    half = RICH_UNITS // 2 + 1
    candidates = [ledger.sign(user, transfer(ledger), nonce=nonce, fee_units=half) for nonce in (0, 1)]
    refused: list[TransactionReason] = []
    executed = ledger.add_block(*candidates, on_rejected=lambda _, error: refused.append(error.reason))
    assert len(executed.receipts) == 1
    assert refused == [TransactionReason.FEE_UNPAYABLE]


def test_a_transaction_larger_than_the_chains_limit_is_refused(ledger: Ledger) -> None:
    small = make_ledger(make_chain(parameters=replace(PARAMETERS, transaction_size_bytes=2**12)))
    records = tuple(BlobRef(hash=bytes([index]) * 32, size_bytes=1) for index in range(120))
    payload = Contribute(datanet=bytes(32), records=records)
    size_bytes = len(small.sign(small.chain.users[0], payload).data)
    small.refuses(small.chain.users[0], payload, TransactionReason.TOO_LARGE, f"{size_bytes} bytes; the limit is 4096")
    ledger.refuses(
        ledger.chain.users[0],
        payload,
        TransactionReason.BAD_PAYLOAD,
        f"at most {PARAMETERS.contribution_records} records at a time",
    )


def test_no_transaction_of_any_chain_is_longer_than_the_hard_limit(ledger: Ledger) -> None:
    long = signed(ledger, payload=bytes(LARGEST_TRANSACTION_SIZE_BYTES + 1))
    assert refusal(ledger, encode(long)) == (
        TransactionReason.MALFORMED,
        f"Transaction.payload has 0..{LARGEST_TRANSACTION_SIZE_BYTES} items",
    )


# The registry.


def test_kinds_have_distinct_numbers_payloads_and_names() -> None:
    assert {kind.number for kind in KINDS.values()} == KINDS.keys()
    assert len(KIND_OF) == len(KIND_NAMED) == len(KINDS)


def test_events_carry_their_own_names() -> None:
    assert all(name == event.NAME for name, event in EVENTS.items())  # type: ignore[attr-defined]
    assert len({event.__name__ for event in EVENTS.values()}) == len(EVENTS)
