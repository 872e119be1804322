import hashlib
import random
import struct

import pytest

from attribution.artifact import MAGIC, Artifact, decode_artifact, encode_artifact
from attribution.content import content_hash
from attribution.errors import AttributionError, Reason
from attribution.examples import Form
from attribution.head.request import Model, Problem
from attribution.mlp.request import Checkpoint, MlpModel, MlpProblem
from attribution.record import Column, TabularSchema, TextSchema

COLUMNS = TabularSchema(
    columns=(
        Column(name="Größe", decimals=2, minimum=-5, maximum=7),
        Column(name="x", decimals=0, minimum=0, maximum=1),
    ),
    classes=2,
)
TEXT = TextSchema(dimensions=9, classes=3, minimum_size_bytes=1, maximum_size_bytes=99)
BLOBS = {content_hash(blob): blob for blob in (b"weights", b"inverse", b"other weights", b"")}
WEIGHTS, INVERSE, OTHER, EMPTY = BLOBS
RECORDS = tuple(content_hash(bytes([index])) for index in range(3))


def make_artifacts() -> dict[str, Artifact]:
    tabular = Form(schema=COLUMNS, label="y", text="", class_names=("no", "yes"))
    text = Form(schema=TEXT, label="Klasse", text="said", class_names=("a", "b", "ü"))
    head, mlp = Problem, MlpProblem
    posted = {WEIGHTS: b"weights", INVERSE: b"inverse"}
    return {
        "tabular": Artifact(
            form=tabular,
            model=Model(
                problem=head(engine="head/1", schema=COLUMNS, damping=4096, records=RECORDS),
                weights=WEIGHTS,
                inverse=INVERSE,
            ),
            materials=posted,
        ),
        "text": Artifact(
            form=text,
            model=Model(
                problem=head(engine="head/1", schema=TEXT, damping=4096, records=RECORDS),
                weights=WEIGHTS,
                inverse=INVERSE,
            ),
            materials=posted,
        ),
        "mlp": Artifact(
            form=tabular,
            model=MlpModel(
                problem=mlp(engine="mlp/1", schema=COLUMNS, widths=(3, 4), records=RECORDS),
                checkpoints=(
                    Checkpoint(weights=WEIGHTS, inverse=INVERSE, scale=7),
                    Checkpoint(weights=OTHER, inverse=EMPTY, scale=9),
                ),
            ),
            materials=BLOBS,
        ),
    }


ARTIFACTS = make_artifacts()


def sealed(data: bytes) -> bytes:
    return data + hashlib.sha256(data).digest()


def refused(data: bytes) -> Reason:
    with pytest.raises(AttributionError) as caught:
        decode_artifact(data)
    return caught.value.reason


@pytest.mark.parametrize("kind", ARTIFACTS)
def test_what_is_read_is_what_was_written(kind: str) -> None:
    assert decode_artifact(encode_artifact(ARTIFACTS[kind])) == ARTIFACTS[kind]


@pytest.mark.parametrize("kind", ARTIFACTS)
def test_every_flipped_bit_and_every_cut_is_refused(kind: str) -> None:
    data = encode_artifact(ARTIFACTS[kind])
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 1 << place % 8
        assert refused(bytes(flipped)) is Reason.ARTIFACT_MALFORMED
        assert refused(data[:place]) is Reason.ARTIFACT_MALFORMED
    assert refused(data + b"\0") is Reason.ARTIFACT_MALFORMED


@pytest.mark.parametrize("kind", ARTIFACTS)
def test_changed_bytes_under_a_new_seal_are_refused_or_another_model(kind: str) -> None:
    """Whoever writes a file by the rule may write another model; no bytes make the reader fail otherwise."""
    data = encode_artifact(ARTIFACTS[kind])[:-32]
    rng = random.Random(1)
    for place in range(len(MAGIC) + 2, len(data)):
        changed = sealed(data[:place] + bytes([data[place] ^ rng.randrange(1, 256)]) + data[place + 1 :])
        try:
            assert decode_artifact(changed) != ARTIFACTS[kind]
        except AttributionError:
            continue
    for place in range(len(MAGIC) + 2, len(data)):
        with pytest.raises(AttributionError):
            decode_artifact(sealed(data[:place]))


def test_other_versions_are_refused_with_their_reason() -> None:
    data = encode_artifact(ARTIFACTS["tabular"])[:-32]
    newer = MAGIC + struct.pack(">H", 2) + data[len(MAGIC) + 2 :]
    assert refused(sealed(newer)) is Reason.ARTIFACT_VERSION_UNKNOWN
    assert refused(sealed(data.replace(b"head/1", b"head/2"))) is Reason.ENGINE_UNKNOWN


def test_other_weights_than_the_model_names_are_refused() -> None:
    data = encode_artifact(ARTIFACTS["tabular"])[:-32]
    with pytest.raises(AttributionError, match="another id"):
        decode_artifact(sealed(data.replace(b"weights", b"Weights")))


def test_bytes_of_the_file_stay_as_they_are() -> None:
    digests = {kind: hashlib.sha256(encode_artifact(each)).hexdigest()[:16] for kind, each in ARTIFACTS.items()}
    assert digests == {"tabular": "2db6add7d5889380", "text": "339334f36abcff0a", "mlp": "da1d3a0048ae6864"}
