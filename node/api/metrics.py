"""Prometheus metrics: read from the node when they are asked for, kept nowhere. Owns the prometheus-client library."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from node.api.source import Source
from node.modules.supply import SUPPLY
from node.modules.validators import GOVERNING
from node.primitives.amount import UNITS_PER_OPEN

CONTENT_TYPE = CONTENT_TYPE_LATEST
PREFIX = "openledger_"


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
        source, replica = self._source, self._source.replica
        core, engine = replica.engine.core, replica.engine
        supply = SUPPLY.get(replica.state)
        yield InfoMetricFamily(
            PREFIX + "node", "This node.", {"name": source.name, "version": source.version, "id": source.peers.id.hex()}
        )
        gauges = {
            "height": ("Last final block.", source.tip_height),
            "epoch": ("Epoch of consensus.", core.epoch),
            "view": ("View of consensus.", core.view),
            "seconds_since_final": ("Since a block became final here.", source.seconds_since_final()),
            "block_time_seconds": ("Time of the last final block.", replica.tree.tip.time_ms / 1000),
            "catching_up": ("Whether peers are ahead.", int(source.is_catching_up)),
            "ready": ("Whether nothing is wrong.", int(not source.problems())),
            "validators": ("Members of the current set.", len(GOVERNING.get(replica.state).validators.validators)),
            "peers": ("Connected peers.", len(source.peers.peers())),
            "mempool_transactions": ("Waiting transactions.", len(replica.mempool)),
            "mempool_size_bytes": ("Bytes of waiting transactions.", replica.mempool.size_bytes),
            "arriving_transactions": ("Transactions being verified.", replica.intake.waiting_count),
            "computations": ("Attribution under way or queued.", replica.claims.running_count),
            "unreferenced_blobs_size_bytes": (
                "Contents no transaction refers to.",
                replica.blobs.unreferenced_size_bytes,
            ),
            "log_size_bytes": ("Size of the write-ahead log.", replica.log_size_bytes),
            "index_height": ("Last block in the explorer's index.", source.index_height or 0),
            "evidence": ("Equivocations seen.", len(replica.evidence)),
            "minted_open": ("OPEN minted.", supply.minted_units / UNITS_PER_OPEN),
            "burned_open": (
                "OPEN burned.",
                (supply.fee_burned_units + supply.bond_burned_units) / UNITS_PER_OPEN,
            ),
        }
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(PREFIX + name, text, value)
        yield _by_reason("nullified_views", "Views this validator gave up.", engine.nullified)
        yield _by_reason("rejected_blocks", "Blocks this node judged invalid.", engine.rejected)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self._registry)


def _by_reason(name: str, text: str, counts: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(PREFIX + name, text, labels=("reason",))
    for reason, count in sorted(counts.items()):
        family.add_metric((reason,), count)
    return family
