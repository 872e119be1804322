"""Prometheus metrics: read from the node when they are asked for, kept nowhere. Owns the prometheus-client library.

Names are CometBFT's where the meaning is the same, under `openledger_`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from consensus.effects import NullifyReason
from node.api.source import Source
from node.modules.supply import SUPPLY
from node.modules.validators import GOVERNING
from node.observation import COMPUTATION_BOUNDS_S, Histogram
from node.pool import DEATHS, KINDS
from node.primitives.amount import UNITS_PER_OPEN

CONTENT_TYPE = CONTENT_TYPE_LATEST
PREFIX = "openledger_"

Gauge = tuple[str, float]
"""What it says, and its value."""


class Metrics:
    """The metrics of one node."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """Nothing: the registry would scrape to find out."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Everything, as it is now."""
        source = self._source
        yield InfoMetricFamily(
            PREFIX + "node", "This node.", {"name": source.name, "version": source.version, "id": source.peers.id.hex()}
        )
        for name, (text, value) in {**self._consensus(), **self._node(), **self._ledger()}.items():
            yield GaugeMetricFamily(PREFIX + name, text, value)
        yield from self._counters()
        yield from self._histograms()

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self._registry)

    def _consensus(self) -> dict[str, Gauge]:
        source, core = self._source, self._source.replica.engine.core
        power_of = core.quorum.power_of
        return {
            "height": ("Last final block.", source.tip_height),
            "epoch": ("Epoch of consensus.", core.epoch),
            "view": ("View of consensus.", core.view),
            "delta_seconds": ("The bound on message delay in force, grown after failed views.", core.delta_ms / 1000),
            "seconds_since_finalization": ("Since a block became final here.", source.seconds_since_final()),
            "block_time_seconds": ("Time of the last final block.", source.replica.tree.tip.time_ms / 1000),
            "catching_up": ("Whether peers are ahead.", int(source.is_catching_up)),
            "validators": (
                "Members of the current set.",
                len(GOVERNING.get(source.replica.state).validators.validators),
            ),
            "validators_power": ("Voting power of the current set.", core.quorum.total_power),
            "missing_validators": ("Members that gave no vote in the last views a quorum voted in.", len(core.absent)),
            "missing_validators_power": (
                "Their voting power.",
                sum(power_of[each] for each in core.absent),
            ),
            "reachable_validators_power": (
                "Voting power of the connected validators and of this one.",
                source.reachable_power(),
            ),
        }

    def _node(self) -> dict[str, Gauge]:
        source, replica = self._source, self._source.replica
        work = replica.engine.observation.work
        gauges: dict[str, Gauge] = {
            "ready": ("Whether nothing is wrong.", int(not source.problems())),
            "peers": ("Connected peers.", len(source.peers.peers())),
            "mempool_size": ("Waiting transactions.", len(replica.mempool)),
            "mempool_size_bytes": ("Bytes of waiting transactions.", replica.mempool.size_bytes),
            "arriving_transactions": ("Transactions being verified.", replica.intake.waiting_count),
            "computations": ("Attribution under way or queued.", replica.claims.running_count),
            "workers": ("Worker processes there may be.", work.workers),
            "workers_busy": ("Worker processes that compute.", work.busy),
            "worker_queue": ("Requests that wait for a worker.", work.waiting),
            "unreferenced_blobs_size_bytes": (
                "Contents no transaction refers to.",
                replica.blobs.unreferenced_size_bytes,
            ),
            "log_size_bytes": ("Size of the write-ahead log.", replica.log_size_bytes),
            "index_height": ("Last block in the explorer's index.", source.index_height or 0),
            "event_loop_lag_last_seconds": (
                "How late the event loop was last.",
                replica.engine.observation.last_loop_lag_s,
            ),
        }
        free_bytes = source.free_bytes()
        if free_bytes is not None:
            gauges["disk_free_bytes"] = ("Room on the data's disk.", free_bytes)
        return gauges

    def _ledger(self) -> dict[str, Gauge]:
        supply = SUPPLY.get(self._source.replica.state)
        return {
            "minted_open": ("OPEN minted.", supply.minted_units / UNITS_PER_OPEN),
            "burned_open": ("OPEN burned.", (supply.fee_burned_units + supply.bond_burned_units) / UNITS_PER_OPEN),
        }

    def _counters(self) -> Iterator[Metric]:
        engine = self._source.replica.engine
        observation = engine.observation
        yield CounterMetricFamily(PREFIX + "equivocations", "Equivocations seen.", observation.equivocations)
        yield CounterMetricFamily(
            PREFIX + "repaired_certificates",
            "Certificates obtained by asking for them.",
            observation.repaired_certificates,
        )
        # Every reason from the start: a rate over a series that begins with its first event misses that event.
        nullified = {each.value: engine.nullified[each.value] for each in NullifyReason}
        yield _by_reason("nullified_views", "Views this validator gave up.", {**nullified, **engine.nullified})
        deaths = {each.value: observation.work.deaths[each.value] for each in DEATHS}
        yield _by_reason("worker_deaths", "Worker processes that ended over a request.", deaths)
        yield _by_reason("rejected_blocks", "Blocks this node judged invalid.", engine.rejected)

    def _histograms(self) -> Iterator[Metric]:
        seen = self._source.replica.engine.observation
        yield _histogram("block_interval_seconds", "Between the times of final blocks.", {"": seen.block_interval})
        yield _histogram(
            "notarization_delay_seconds",
            "From entering the view, or from seeing its proposal, to its notarization.",
            {"view": seen.notarization_since_view, "proposal": seen.notarization_since_proposal},
        )
        yield _histogram(
            "finalization_delay_seconds",
            "From entering the view, or from seeing its proposal, to its finalization.",
            {"view": seen.finalization_since_view, "proposal": seen.finalization_since_proposal},
        )
        yield _histogram(
            "computation_seconds",
            "From sending a request to a worker to its answer.",
            {kind: seen.work.seconds.get(kind, Histogram(COMPUTATION_BOUNDS_S)) for kind in KINDS},
            label="kind",
        )
        yield _histogram("log_sync_seconds", "Writing and syncing the log once.", {"": seen.log_sync})
        yield _histogram("event_loop_lag_seconds", "How late the event loop runs a timer.", {"": seen.loop_lag})


def _by_reason(name: str, text: str, counts: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(PREFIX + name, text, labels=("reason",))
    for reason, count in sorted(counts.items()):
        family.add_metric((reason,), count)
    return family


def _histogram(name: str, text: str, since: Mapping[str, Histogram], label: str = "since") -> HistogramMetricFamily:
    """One histogram, or several that differ in where their time begins, or in what `label` names."""
    labels = () if "" in since else (label,)
    family = HistogramMetricFamily(PREFIX + name, text, labels=labels)
    for start, histogram in since.items():
        buckets, below = [], 0
        for bound, count in zip([*map(str, histogram.bounds), "+Inf"], histogram.counts, strict=True):
            below += count
            buckets.append((bound, float(below)))
        family.add_metric((start,) if labels else (), buckets, histogram.total)
    return family
