import json
from collections import Counter

from attribution.similar.records import read_batch
from attribution.similar.request import TabularRule, TextRule, VerdictKind
from attribution.similar.tabular import found
from attribution.similar.text import TextClusters
from tests.attribution.similar.digests import VECTORS, digests, tabular_records, texts


def test_results_have_the_pinned_digests() -> None:
    assert digests() == json.loads(VECTORS.read_text(encoding="utf-8"))


def test_the_cases_have_every_kind_of_verdict() -> None:
    schema, blobs = tabular_records(20, 700)
    clusters, encoder = found(TabularRule(), schema, range(256), blobs[:256])
    tabular = Counter(v.kind for v in clusters.admit(read_batch(schema, encoder, range(256, 700), blobs[256:])))
    text = Counter(v.kind for v in TextClusters(TextRule()).admit_all(list(enumerate(texts(120)))))
    for kinds in (tabular, text):
        assert min(kinds[kind] for kind in VerdictKind) >= 10, kinds
