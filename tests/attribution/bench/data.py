"""Data sets of the measurements, as integer tables: scikit-learn's three, and one of text that is made here."""

import hashlib
import itertools
import random
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine

from attribution.exact import Int64
from attribution.head.request import MAXIMUM_UNKNOWNS
from attribution.record import Column, TabularSchema

Floats = npt.NDArray[np.float64]

TEXT_SEED = 7
TEXT_CLASSES = 4
TEXT_DIMENSIONS = 64
MINIMUM_WORDS = 24
"""The datanet's minimum length: no half of a document has it."""


@dataclass(frozen=True)
class Data:
    """A table. Shapes: values (n, k), labels (n,)."""

    name: str
    schema: TabularSchema
    values: Int64
    labels: Int64
    note: str = ""

    def split(self, seed: int, train: int, rest: int) -> tuple[Int64, Int64]:
        """Indices of records and of others, drawn without replacement."""
        order = np.array(random.Random(seed).sample(range(len(self.labels)), len(self.labels)))
        train = min(train, len(order) * 3 // 4)
        return order[:train], order[train : train + rest]


def load(name: str) -> Data:
    """A data set by its name; narrowed, and a note says how, where the engine could not hold it whole."""
    return LOADERS[name]()


def make_data(name: str, x: Floats, y: Int64, decimals: int) -> Data:
    """Scaled integers, with columns and then classes left out until the head fits in MAXIMUM_UNKNOWNS."""
    values = np.rint(x * 10**decimals).astype(np.int64)
    labels = y.astype(np.int64)
    notes = []
    if (values.shape[1] + 1) * (int(labels.max()) + 1) > MAXIMUM_UNKNOWNS:
        is_varying = values.min(axis=0) < values.max(axis=0)
        notes.append(f"{int((~is_varying).sum())} constant columns dropped")
        values = values[:, is_varying]
    classes = min(int(labels.max()) + 1, MAXIMUM_UNKNOWNS // (values.shape[1] + 1))
    if classes <= labels.max():
        notes.append(f"only the first {classes} classes")
        values, labels = values[labels < classes], labels[labels < classes]
    bound = int(np.abs(values).max()) * 4 + 10
    columns = tuple(
        Column(name=f"c{i}", decimals=decimals, minimum=-bound, maximum=bound) for i in range(values.shape[1])
    )
    schema = TabularSchema(columns=columns, classes=classes)
    return Data(name=name, schema=schema, values=values, labels=labels, note=", ".join(notes))


def make_documents(seed: int, count: int) -> tuple[list[list[str]], list[int]]:
    """Documents of 24 to 40 words: a third of its topic's own 40, the rest of 300 that all share, rarer by rank."""
    rng = random.Random(seed)
    shared = [f"w{i}" for i in range(300)]
    weights = [1 / (rank + 3) for rank in range(len(shared))]
    documents, topics = [], []
    for _ in range(count):
        topic = rng.randrange(TEXT_CLASSES)
        size = rng.randint(MINIMUM_WORDS, 40)
        own = [f"t{topic}.{min(int(rng.expovariate(0.1)), 39)}" for _ in range(size // 3)]
        words = own + rng.choices(shared, weights, k=size - len(own))
        rng.shuffle(words)
        documents.append(words)
        # One in twenty is read wrongly, as in real text.
        topics.append(topic if rng.random() < 0.95 else rng.randrange(TEXT_CLASSES))
    return documents, topics


def embed(words: list[str]) -> list[int]:
    """Counts of words and of pairs, each ±1 in every dimension by its SHA-256, over the root of the length."""
    total = np.zeros(TEXT_DIMENSIONS)
    for gram in [*words, *(f"{a} {b}" for a, b in itertools.pairwise(words))]:
        digest = hashlib.sha256(gram.encode()).digest()
        bits = np.unpackbits(np.frombuffer(digest, dtype=np.uint8))[:TEXT_DIMENSIONS]
        total += 2.0 * bits - 1
    return np.rint(1000 * total / max(len(words), 1) ** 0.5).astype(int).tolist()


def _text() -> Data:
    documents, topics = make_documents(TEXT_SEED, 900)
    return make_data("text", np.array([embed(words) for words in documents], dtype=float), np.array(topics), 0)


def _digits() -> Data:
    found = load_digits()
    return make_data("digits", found.data, found.target, 0)


def _wine() -> Data:
    found = load_wine()
    return make_data("wine", found.data, found.target, 4)


def _breast_cancer() -> Data:
    found = load_breast_cancer()
    return make_data("breast-cancer", found.data, found.target, 6)


def _diabetes() -> Data:
    """Two classes: above the median or not."""
    found = load_diabetes()
    return make_data("diabetes", found.data, found.target > np.median(found.target), 8)


LOADERS = {
    "digits": _digits,
    "wine": _wine,
    "breast-cancer": _breast_cancer,
    "text": _text,
    "diabetes": _diabetes,
}
