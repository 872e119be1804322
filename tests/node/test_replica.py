"""A node around its ledger: contents live as long as something needs them, and no message costs more than it may."""

from __future__ import annotations

import pytest

from attribution.record import encode_query
from node import keeper
from node import replica as module
from node.modules.accounts import Transfer
from node.modules.context import BlobRef
from node.modules.datanets import DATANETS, ColumnSpec, Contribute, CreateDatanet, schema_of
from node.modules.erasure import EraseRecord
from node.p2p.messages import BlobResponse
from node.primitives.codec import encode
from node.primitives.crypto import sha256
from node.replica import Replica
from node.storage.blobs import BlobStore, Uses
from node.types.genesis import Role
from node.types.parameters import Parameters
from tests.factories import Chain, make_chain, make_transaction
from tests.simulation.invariants import Invariants
from tests.simulation.world import World

PARAMETERS = Parameters(delta_ms=100, empty_block_interval_ms=500, claim_age_heights=1)


class Network:
    """Four simulated validators with a datanet, and what people do on it."""

    def __init__(self) -> None:
        people = {"curator": int(Role.CURATOR), "reviewer": int(Role.REVIEWER), "clinic": int(Role.CONTRIBUTOR)}
        self.chain: Chain = make_chain(users=2, people=people, parameters=PARAMETERS)
        self.invariants = Invariants()
        self.world = World(self.chain, 1, self.invariants)
        self.nonces: dict[str, int] = {}
        for index in range(4):
            self.world.add_node(index)
        for index in range(4):
            self.world.start(f"v{index}")
        create = CreateDatanet(
            name="d",
            licence="l",
            columns=(ColumnSpec(name="a", decimals=0, minimum=0, maximum=10**9),),
            classes=("x", "y"),
            dampings=(1 << 17,),
            reviewers=(self.chain.people["reviewer"].address,),
            review_quorum=1,
        )
        self.datanet = self.send("curator", create)
        self.run_until_final(self.datanet)
        self.world.run(2_000)

    def replica(self, name: str = "v0") -> Replica:
        found = self.world.nodes[name].replica
        assert found is not None
        return found

    def send(self, who: str, payload: object, **options: int) -> bytes:
        nonce = options.pop("nonce", self.nonces.get(who, 0))
        self.nonces[who] = nonce + 1
        transaction = make_transaction(self.chain, self.chain.people[who], payload, nonce=nonce, **options)
        assert self.world.submit("v0", encode(transaction))
        return transaction.id(self.chain.genesis_hash)

    def is_final(self, transaction_id: bytes, name: str = "v0") -> bool:
        return self.invariants.is_final_at(self.world.nodes[name], transaction_id)

    def run_until_final(self, transaction_id: bytes) -> None:
        names = list(self.world.nodes)
        assert self.world.run_until(lambda: all(self.is_final(transaction_id, name) for name in names), 20_000)

    def record(self, value: int) -> bytes:
        schema = schema_of(DATANETS.need(self.replica().state, self.datanet))
        return bytes(2) + encode_query(schema, [value])

    def contribution(self, *records: bytes) -> Contribute:
        references = tuple(BlobRef(hash=sha256(each), size_bytes=len(each)) for each in records)
        return Contribute(datanet=self.datanet, records=references)


def test_contents_of_a_transaction_that_waits_are_not_swept_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "UNUSED_BLOB_MS", 5_000)
    monkeypatch.setattr(module, "SWEEP_MS", 1_000)
    network = Network()
    record, unused = network.record(1), network.record(2)
    network.replica().put_blobs([record, unused])
    waiting = network.send("clinic", network.contribution(record), nonce=1)
    network.world.run(20_000)
    assert not network.replica().blobs.has(sha256(unused))
    assert all(network.replica(name).blobs.has(sha256(record)) for name in network.world.nodes)
    network.send("clinic", Transfer(recipient=bytes(20), amount_units=1), nonce=0)
    network.run_until_final(waiting)


def test_transaction_whose_predecessors_never_come_is_dropped_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GAP_MS", 5_000)
    monkeypatch.setattr(module, "SWEEP_MS", 1_000)
    network = Network()
    dropped: list[tuple[bytes, str]] = []
    network.replica().on_transaction_dropped.append(lambda each, error: dropped.append((each, str(error.reason))))
    gapped = network.send("clinic", Transfer(recipient=bytes(20), amount_units=1), nonce=5)
    network.world.run(10_000)
    assert dropped == [(gapped, "nonce_too_high")]
    assert len(network.replica().mempool) == 0


def test_transaction_that_lacks_its_content_now_takes_no_place_and_comes_in_again() -> None:
    network = Network()
    record = network.record(1)
    network.replica().put_blobs([record])
    contribution = make_transaction(
        network.chain, network.chain.people["clinic"], network.contribution(record), nonce=1
    )
    assert network.world.submit("v0", encode(contribution))
    network.world.run(1_000)
    for name in network.world.nodes:  # as if it was lost everywhere but on one node
        if name != "v3":
            network.replica(name).blobs.apply_uses(Uses(height=0, erased=(sha256(record),)))
            network.replica(name).blobs.purge([sha256(record)])
    network.send("clinic", Transfer(recipient=bytes(20), amount_units=1), nonce=0)
    network.run_until_final(contribution.id(network.chain.genesis_hash))
    names = list(network.world.nodes)  # a node may have the final block first and what it refers to a moment later
    assert network.world.run_until(
        lambda: all(network.replica(name).blobs.has(sha256(record)) for name in names), 5_000
    )


@pytest.mark.parametrize("is_marked", [True, False])
def test_node_that_stopped_between_a_block_and_its_contents_erases_when_it_starts_again(
    monkeypatch: pytest.MonkeyPatch, is_marked: bool
) -> None:
    network = Network()
    record = network.record(1)
    network.replica().put_blobs([record])
    network.run_until_final(network.send("clinic", network.contribution(record)))
    stopped = network.replica("v1").blobs
    original = BlobStore.apply_uses

    def stop_before(self: BlobStore, uses: Uses) -> tuple[bytes, ...]:
        if self is stopped and uses.erased:
            if is_marked:  # the batch is written, the files are not cleaned
                original(self, uses)
            network.world.crash("v1")
            return ()
        return original(self, uses)

    monkeypatch.setattr(BlobStore, "apply_uses", stop_before)
    erasure = EraseRecord(datanet=network.datanet, content=sha256(record))
    network.send("clinic", erasure)
    network.world.run(3_000)
    assert network.world.nodes["v1"].replica is None
    again = network.world.start("v1")
    assert not again.blobs.has(sha256(record))
    network.world.run(500)
    assert again.blobs.erased() == []


def test_empty_and_unasked_contents_wake_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network()
    replica = network.replica()
    woken: list[object] = []
    monkeypatch.setattr(type(replica.engine), "on_arrival", lambda *arguments: woken.append(arguments))
    for contents in ((), (b"nobody asked",)):
        replica.on_message(network.world.peer_ids[1], BlobResponse(contents=contents))
    assert woken == []
    assert not replica.blobs.has(sha256(b"nobody asked"))


def test_erased_contents_of_a_block_leave_the_files_in_one_run_aside() -> None:
    network = Network()
    records = [network.record(value) for value in range(40)]
    network.replica().put_blobs(records)
    network.run_until_final(network.send("clinic", network.contribution(*records)))
    runs: list[int] = []
    host = network.world.nodes["v0"].host
    aside = host.run_aside
    host.run_aside = lambda work, on_done: (runs.append(1), aside(work, on_done))[1]  # type: ignore[method-assign]
    last = b""
    for record in records:
        last = network.send("clinic", EraseRecord(datanet=network.datanet, content=sha256(record)))
    network.run_until_final(last)
    network.world.run(500)
    blobs = network.replica().blobs
    assert not any(blobs.has(sha256(record)) for record in records)
    assert blobs.erased() == []
    assert len(runs) <= 4
