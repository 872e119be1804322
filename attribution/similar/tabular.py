"""Clusters of tabular records, grown record by record in seniority order.

    1 a record whose key stands already is a copy of that record
    2 else it joins the cluster of the eldest leader of its label with similarity at least `join_permille`
    3 else it leads a new cluster, whose number is its seniority

With fewer than 8 features rule 2 is off. A batch is judged as if its records came one by one, copies left out.

Removal (an erasure). The record's features and key are forgotten; the same content may come again, as a new record. A
cluster keeps its number and its place in the order as long as it has members. When its leader goes, the eldest
member that is left leads it from then on: verdicts that were given stand, later records are compared with the
successor. Members keep no features here, so the ledger hands the successor's in.

State: one `Entry` per admitted record. `load` of the entries is the same index, whatever led to it, so a ledger may
keep entries under their seniority in its store and the arrays in memory. `cut` undoes the youngest admissions, for a
block that was executed and not finalized.
"""

import hashlib
from bisect import insort
from collections.abc import Iterable, Sequence

import numpy as np

from attribution.errors import AttributionError, Reason
from attribution.exact import Int64, matmul
from attribution.head.encoder import ENCODER_RECORDS, Int16, TabularEncoder, derive, read_records
from attribution.record import TabularSchema
from attribution.similar.leaders import Leaders, similarities, squared_norms
from attribution.similar.records import Batch, Entry, decode_features, encode_features, make_batch
from attribution.similar.request import (
    MAXIMUM_BATCH,
    MAXIMUM_FEATURES,
    MINIMUM_FEATURES,
    SAME,
    TabularRule,
    Verdict,
    VerdictKind,
    tabular_work,
)


class TabularClusters:
    """The clusters of one record schema under one frozen encoder. Shapes: d features."""

    def __init__(self, rule: TabularRule, features: int) -> None:
        if not 0 <= features <= MAXIMUM_FEATURES:
            raise AttributionError(Reason.FEATURES_MALFORMED, f"{features} features, at most {MAXIMUM_FEATURES}")
        self.rule = rule
        self.features = features
        self.newest = -1
        """Seniority of the youngest record that was ever admitted and not cut off."""
        self._cut_limit = -1
        self._records: dict[int, tuple[int, int, bytes]] = {}
        """seniority -> cluster, label, key."""
        self._originals: dict[bytes, int] = {}
        """key -> seniority."""
        self._members: dict[int, list[int]] = {}
        """cluster -> seniorities, the leader's first."""
        self._rows: dict[int, int] = {}
        """cluster -> row among the leaders of its label."""
        self._leaders: dict[int, Leaders] = {}
        """label -> leaders."""
        self._numbers: dict[int, list[int]] = {}
        """label -> cluster of each row."""

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, seniority: int) -> bool:
        return seniority in self._records

    def cluster_of(self, seniority: int) -> int:
        """Number of a record's cluster. Raises: AttributionError(RECORD_UNKNOWN)."""
        return self._record(seniority)[0]

    def members(self, cluster: int) -> tuple[int, ...]:
        """Seniorities of a cluster's records, the leader's first; none when all are gone."""
        return tuple(self._members.get(cluster, ()))

    def multiply_accumulates(self, records: int) -> int:
        """Most work that a batch of so many records takes now."""
        leaders = max((len(each) for each in self._leaders.values()), default=0)
        return tabular_work(leaders, records, self.features)

    def size_bytes(self) -> int:
        """Memory that the leaders' arrays take."""
        return sum(each.size_bytes() for each in self._leaders.values())

    def propose(self, batch: Batch) -> tuple[Verdict, ...]:
        """Verdicts on at most 1,024 records that would come one after another; nothing is changed.

        Raises: AttributionError(FEATURES_MALFORMED | OUT_OF_ORDER | TOO_MANY_RECORDS).
        """
        self._validate(batch)
        if len(batch) > MAXIMUM_BATCH:
            raise AttributionError(Reason.TOO_MANY_RECORDS, f"{len(batch)}, at most {MAXIMUM_BATCH}")
        return self._judge(batch)

    def admit(self, batch: Batch, is_founding: bool = False) -> tuple[Verdict, ...]:
        """Verdicts on records that come one after another; all but copies are kept.

        Founding records were admitted before their encoder was known: what would be a copy joins its original.

        Raises: AttributionError(FEATURES_MALFORMED | OUT_OF_ORDER).
        """
        self._validate(batch)
        verdicts: list[Verdict] = []
        for start in range(0, len(batch), MAXIMUM_BATCH):
            part = batch.part(slice(start, start + MAXIMUM_BATCH))
            judged = self._judge(part, is_founding)
            self._keep(part, judged)
            verdicts += judged
        return tuple(verdicts)

    def successor_of(self, seniority: int) -> int | None:
        """Who would lead when this record goes: the eldest other member, if the record leads and there is one.

        Raises: AttributionError(RECORD_UNKNOWN).
        """
        members = self._members[self._record(seniority)[0]]
        return members[1] if members[0] == seniority and len(members) > 1 else None

    def remove(self, seniority: int, successor: Batch | None = None) -> None:
        """Forget a record, with its successor's features where `successor_of` names one. No `cut` reaches behind it.

        Raises: AttributionError(RECORD_UNKNOWN | SUCCESSOR_MISMATCH | FEATURES_MALFORMED).
        """
        cluster, label, key = self._record(seniority)
        heir = self.successor_of(seniority)
        given = None if successor is None else successor.seniorities
        if given != (None if heir is None else (heir,)):
            raise AttributionError(Reason.SUCCESSOR_MISMATCH, f"{given} instead of {heir}")
        if successor is not None:
            self._validate_width(successor)
            if successor.keys[0] != self._records[successor.seniorities[0]][2]:
                raise AttributionError(Reason.SUCCESSOR_MISMATCH, "other content")
            self._leaders[label].replace(self._rows[cluster], successor.features[0])
        elif self._members[cluster] == [seniority]:
            self._leaders[label].clear(self._rows.pop(cluster))
        self._forget(seniority, cluster, key)
        self._cut_limit = self.newest

    def cut(self, newest: int) -> None:
        """Undo every admission of a record younger than `newest`: not behind a removal."""
        assert newest >= self._cut_limit or newest >= self.newest
        for seniority in sorted((each for each in self._records if each > newest), reverse=True):
            cluster, label, key = self._records[seniority]
            if cluster == seniority:
                self._leaders[label].cut(self._rows.pop(cluster))
                self._numbers[label].pop()
            self._forget(seniority, cluster, key)
        self.newest = min(self.newest, newest)

    def entries(self) -> tuple[Entry, ...]:
        """All state, by seniority."""
        return tuple(self.entry(seniority) for seniority in sorted(self._records))

    def entry(self, seniority: int) -> Entry:
        """State of one record, for a store. Raises: AttributionError(RECORD_UNKNOWN)."""
        cluster, label, key = self._record(seniority)
        is_leader = self._members[cluster][0] == seniority
        features = encode_features(self._leaders[label].features(self._rows[cluster])) if is_leader else b""
        return Entry(seniority=seniority, cluster=cluster, label=label, key=key, features=features)

    def restore(self, entries: Sequence[Entry]) -> None:
        """Fill an empty index with its state, by seniority. Raises: AttributionError(FEATURES_MALFORMED)."""
        assert not self._records
        led: dict[int, list[Entry]] = {}
        for entry in entries:
            if entry.cluster not in self._members:
                led.setdefault(entry.label, []).append(entry)
            self._note(entry.seniority, entry.cluster, entry.label, entry.key)
            self.newest = max(self.newest, entry.seniority)
        for label, leaders in sorted(led.items()):
            # A successor stands where its cluster stood.
            leaders.sort(key=lambda entry: entry.cluster)
            features = [decode_features(entry.features, self.features) for entry in leaders]
            self._lead(label, [entry.cluster for entry in leaders], np.stack(features))
        self._cut_limit = self.newest

    def digest(self) -> bytes:
        """SHA-256 of all state: equal for indices that judge alike."""
        return hashlib.sha256(b"".join(entry.encode() for entry in self.entries())).digest()

    def _judge(self, batch: Batch, is_founding: bool = False) -> tuple[Verdict, ...]:
        rows, similarity = self._search(batch)
        among = _Among(batch, self.rule, self.features >= MINIMUM_FEATURES)
        verdicts: list[Verdict] = []
        fresh: dict[bytes, tuple[int, int]] = {}
        for i, (seniority, label, key) in enumerate(
            zip(batch.seniorities, batch.labels.tolist(), batch.keys, strict=True)
        ):
            original = self._original(key) or fresh.get(key)
            if original is not None and not is_founding:
                verdicts.append(_verdict(VerdictKind.COPY, *original, SAME))
                continue
            if original is not None:
                verdict = _verdict(VerdictKind.JOINS, *original, SAME)
            elif rows[i] >= 0:
                cluster = self._numbers[label][rows[i]]
                verdict = _verdict(VerdictKind.JOINS, self._members[cluster][0], cluster, int(similarity[i]))
            else:
                verdict = among.judge(i)
            fresh.setdefault(key, (seniority, verdict.cluster))
            verdicts.append(verdict)
        return tuple(verdicts)

    def _search(self, batch: Batch) -> tuple[Int64, Int64]:
        """Row of the eldest similar leader of its label for each record, or -1, and the similarity."""
        rows = np.full(len(batch), -1, dtype=np.int64)
        similarity = np.zeros(len(batch), dtype=np.int64)
        if self.features >= MINIMUM_FEATURES:
            for label in sorted(set(batch.labels.tolist()) & set(self._leaders)):
                of_label = batch.labels == label
                rows[of_label], similarity[of_label] = self._leaders[label].search(batch.features[of_label])
        return rows, similarity

    def _keep(self, batch: Batch, verdicts: Sequence[Verdict]) -> None:
        fresh: dict[int, list[int]] = {}
        for i, (verdict, seniority) in enumerate(zip(verdicts, batch.seniorities, strict=True)):
            if verdict.kind is VerdictKind.COPY:
                continue
            label = int(batch.labels[i])
            self._note(seniority, verdict.cluster, label, batch.keys[i])
            if verdict.kind is VerdictKind.NEW:
                fresh.setdefault(label, []).append(i)
        for label, chosen in fresh.items():
            self._lead(label, [batch.seniorities[i] for i in chosen], batch.features[chosen])
        if len(batch):
            self.newest = max(self.newest, batch.seniorities[-1])

    def _note(self, seniority: int, cluster: int, label: int, key: bytes) -> None:
        self._records[seniority] = cluster, label, key
        # Founding records may be equal; the eldest is the original.
        self._originals.setdefault(key, seniority)
        insort(self._members.setdefault(cluster, []), seniority)

    def _lead(self, label: int, clusters: Sequence[int], features: Int16) -> None:
        leaders = self._leaders.setdefault(label, Leaders(self.features, self.rule.join_permille))
        numbers = self._numbers.setdefault(label, [])
        for cluster in clusters:
            self._rows[cluster] = len(numbers)
            numbers.append(cluster)
        leaders.append(features)

    def _forget(self, seniority: int, cluster: int, key: bytes) -> None:
        del self._records[seniority]
        members = self._members[cluster]
        members.remove(seniority)
        if self._originals[key] == seniority:
            del self._originals[key]
            # Equal founding records stand in one cluster: the next of them is the original now.
            for other in members:
                if self._records[other][2] == key:
                    self._originals.setdefault(key, other)
        if not members:
            del self._members[cluster]

    def _original(self, key: bytes) -> tuple[int, int] | None:
        seniority = self._originals.get(key)
        return None if seniority is None else (seniority, self._records[seniority][0])

    def _record(self, seniority: int) -> tuple[int, int, bytes]:
        found = self._records.get(seniority)
        if found is None:
            raise AttributionError(Reason.RECORD_UNKNOWN, str(seniority))
        return found

    def _validate(self, batch: Batch) -> None:
        self._validate_width(batch)
        if len(batch) and batch.seniorities[0] <= self.newest:
            raise AttributionError(Reason.OUT_OF_ORDER, f"{batch.seniorities[0]} after {self.newest}")

    def _validate_width(self, batch: Batch) -> None:
        if batch.features.shape[1] != self.features:
            raise AttributionError(Reason.FEATURES_MALFORMED, f"{batch.features.shape[1]}, not {self.features}")


def found(
    rule: TabularRule, schema: TabularSchema, seniorities: Sequence[int], blobs: Sequence[bytes]
) -> tuple[TabularClusters, TabularEncoder]:
    """Clusters of a datanet's first records, at most 256, under the encoder that they fix.

    While there are fewer than 256, this is done anew for each one more; the 256th freezes the encoder.

    Raises: AttributionError.
    """
    if not blobs:
        raise AttributionError(Reason.NO_RECORDS)
    if len(blobs) > ENCODER_RECORDS:
        raise AttributionError(Reason.TOO_MANY_RECORDS, f"{len(blobs)}, at most {ENCODER_RECORDS}")
    labels, values = read_records(schema, blobs)
    encoder = derive(values)
    batch = make_batch(encoder, seniorities, labels, values)
    clusters = TabularClusters(rule, batch.features.shape[1])
    clusters.admit(batch, is_founding=True)
    return clusters, encoder


def load(rule: TabularRule, features: int, entries: Iterable[Entry]) -> TabularClusters:
    """The index that has these entries, given in any order. Raises: AttributionError(FEATURES_MALFORMED)."""
    clusters = TabularClusters(rule, features)
    clusters.restore(sorted(entries, key=lambda entry: entry.seniority))
    return clusters


class _Among:
    """The records of a batch that lead new clusters, for those that come after them in the batch."""

    def __init__(self, batch: Batch, rule: TabularRule, is_on: bool) -> None:
        self._batch = batch
        self._join = rule.join_permille
        self._fresh: dict[int, list[int]] = {}
        self._is_on = is_on and len(batch) > 1
        if self._is_on:
            self._squares = squared_norms(batch.features)
            self._products = matmul(batch.features, batch.features.T)

    def judge(self, i: int) -> Verdict:
        """Verdict on a record that no leader of the index is similar to."""
        fresh = self._fresh.setdefault(int(self._batch.labels[i]), [])
        if self._is_on and fresh:
            similar = similarities(self._products[i, fresh], self._squares[fresh], self._squares[i])
            hit = int(np.argmax(similar >= self._join))
            if similar[hit] >= self._join:
                leader = self._batch.seniorities[fresh[hit]]
                return _verdict(VerdictKind.JOINS, leader, leader, int(similar[hit]))
        fresh.append(i)
        return Verdict(kind=VerdictKind.NEW, cluster=self._batch.seniorities[i])


def _verdict(kind: VerdictKind, original: int, cluster: int, similarity: int) -> Verdict:
    return Verdict(kind=kind, cluster=cluster, original=original, similarity=similarity)
