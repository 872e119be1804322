"""Both kinds of clusters once more, in plain Python: slow, short, and what the fast forms are tested against.

Read this to know what is decided, and the other files to know how it is decided quickly. Every record that was
admitted is kept as it is, and a verdict looks at all of them.
"""

from dataclasses import dataclass, field

from attribution.similar.request import TabularRule, Verdict, VerdictKind

PRIME = 2**61 - 1


def similarity(x: list[int], y: list[int]) -> int:
    """Of two rows of features, in thousandths, rounded down."""
    total = sum(a * a for a in x) + sum(b * b for b in y)
    if total == 0:
        return 1000
    return 2000 * sum(a * b for a, b in zip(x, y, strict=True)) // total


@dataclass
class Row:
    """An admitted tabular record."""

    seniority: int
    label: int
    features: list[int]
    key: bytes
    cluster: int


@dataclass
class TabularReference:
    """`TabularClusters`, one record at a time."""

    rule: TabularRule
    rows: list[Row] = field(default_factory=list)

    def admit(self, seniority: int, label: int, features: list[int], key: bytes, is_founding: bool = False) -> Verdict:
        """Verdict on the next record, which is kept unless it is a copy."""
        verdict = self._judge(seniority, label, features, key, is_founding)
        if verdict.kind is not VerdictKind.COPY:
            self.rows.append(Row(seniority, label, features, key, verdict.cluster))
        return verdict

    def _judge(self, seniority: int, label: int, features: list[int], key: bytes, is_founding: bool) -> Verdict:
        for row in self.rows:
            if row.key == key:
                kind = VerdictKind.JOINS if is_founding else VerdictKind.COPY
                return Verdict(kind=kind, cluster=row.cluster, original=row.seniority, similarity=1000)
        if len(features) >= 8:
            for leader in self.leaders():
                similar = similarity(leader.features, features)
                if leader.label == label and similar >= self.rule.join_permille:
                    found = {"cluster": leader.cluster, "original": leader.seniority, "similarity": similar}
                    return Verdict(kind=VerdictKind.JOINS, **found)
        return Verdict(kind=VerdictKind.NEW, cluster=seniority)

    def leaders(self) -> list[Row]:
        """The eldest record of each cluster, by the clusters' numbers."""
        eldest: dict[int, Row] = {}
        for row in self.rows:
            eldest.setdefault(row.cluster, row)
        return [eldest[cluster] for cluster in sorted(eldest)]

    def remove(self, seniority: int) -> None:
        """Forget a record."""
        self.rows = [row for row in self.rows if row.seniority != seniority]
