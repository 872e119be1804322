"""What a peer may ask: a burst, then its rates; a request weighs what its answer takes."""

from __future__ import annotations

import pytest

from node.p2p.allowance import (
    BURST_S,
    BYTES_PER_SECOND,
    MESSAGES_PER_SECOND,
    REQUEST_COST,
    SYNC_REQUEST_COST,
    Allowance,
    cost_of,
)
from node.p2p.messages import (
    MOST_BLOBS_PER_MESSAGE,
    BlobRequest,
    BlobResponse,
    BlockRequest,
    CertificateRequest,
    StatusRequest,
    SyncRequest,
    Transactions,
)


def test_a_burst_is_free_and_what_is_above_it_is_owed():
    allowance = Allowance(100.0)
    allowance.charge(messages=int(MESSAGES_PER_SECOND * BURST_S))
    assert allowance.pause_s(100.0) == 0.0
    allowance.charge(messages=MESSAGES_PER_SECOND // 2)
    assert allowance.pause_s(100.0) == pytest.approx(0.5)
    assert allowance.pause_s(100.4) == pytest.approx(0.1)
    assert allowance.pause_s(100.6) == 0.0


def test_bytes_are_owed_beside_messages():
    allowance = Allowance(0.0)
    allowance.charge(size_bytes=int(BYTES_PER_SECOND * (BURST_S + 1)), messages=1)
    assert allowance.pause_s(0.0) == pytest.approx(1.0)


def test_a_long_rest_saves_no_more_than_a_burst():
    allowance = Allowance(0.0)
    assert allowance.pause_s(1_000_000.0) == 0.0
    allowance.charge(messages=int(MESSAGES_PER_SECOND * (BURST_S + 1)))
    assert allowance.pause_s(1_000_000.0) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("message", "cost"),
    [
        (SyncRequest(from_height=1), SYNC_REQUEST_COST),
        (BlockRequest(block_id=bytes(32)), REQUEST_COST),
        (CertificateRequest(epoch=0, from_view=1, to_view=2), REQUEST_COST),
        (StatusRequest(), REQUEST_COST),
        (BlobRequest(hashes=(bytes(32),)), REQUEST_COST),
        (BlobRequest(hashes=(bytes(32),) * MOST_BLOBS_PER_MESSAGE), REQUEST_COST + MOST_BLOBS_PER_MESSAGE // 8),
        (BlobResponse(contents=()), 1),
        (Transactions(transactions=(b"tx",)), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_request_weighs_what_its_answer_takes(message, cost):
    assert cost_of(message) == cost
