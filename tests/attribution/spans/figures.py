"""How long spans/1 takes: `python -m tests.attribution.spans.figures --megabytes 1 --megabytes 10 --megabytes 50`.

The corpus is made, not fetched: words with Zipf frequencies, and every fifth text quotes an elder one. Where the
package infini-gram is installed, it indexes the very same ids and answers the same questions in the same run, and its
spans are compared with ours. Its time for an answer is that of finding spans; ours is also that of weighing and paying.
Processor time and elapsed time are both told: on a busy machine only the first says much.
"""

import argparse
import importlib.util
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from attribution.content import content_hash
from attribution.spans.attribute import Prepared, attribute, compute, prepare
from attribution.spans.index import make_snapshot
from attribution.spans.request import MINIMUM_SPAN_TOKENS, SpansRequest, Text
from attribution.spans.search import UNKNOWN, Cost, longest_matches
from attribution.spans.sorting import suffix_array
from attribution.spans.store import load, save

WORDS = 64_000
"""Below 2**16: for wider ids the peer's program allocates 32 GiB."""
SEED = 20


def make_corpus(megabytes: int) -> list[list[str]]:
    """Texts of about 2,000 words."""
    rng = np.random.default_rng(SEED)
    letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
    shapes = rng.integers(2, 10, WORDS)
    words = sorted({"".join(letters[np.minimum(rng.geometric(0.12, size) - 1, 25)]) for size in shapes})
    rng.shuffle(words)
    chances = 1 / np.arange(3, len(words) + 3)
    cumulative = np.cumsum(chances / chances.sum())
    texts: list[list[str]] = []
    size_bytes = 0
    while size_bytes < megabytes * 1_000_000:
        drawn = np.searchsorted(cumulative, rng.random(int(rng.integers(200, 4000))))
        text = [words[min(i, len(words) - 1)] for i in drawn.tolist()]
        if len(texts) % 5 == 4:
            elder = texts[int(rng.integers(len(texts)))]
            begin = int(rng.integers(len(elder)))
            text[50:50] = elder[begin : begin + int(rng.integers(20, 400))]
        texts.append(text)
        size_bytes += sum(map(len, text)) + len(text)
    return texts


def make_answers(texts: list[list[str]], count: int) -> list[list[str]]:
    """512 tokens each: passages of 6 to 60 tokens from texts, and as many words that nobody wrote in that order."""
    rng = np.random.default_rng(SEED + 1)
    answers = []
    for _ in range(count):
        answer: list[str] = []
        while len(answer) < 512:
            text = texts[int(rng.integers(len(texts)))]
            begin = int(rng.integers(len(text)))
            answer += text[begin : begin + int(rng.integers(6, 60))]
            answer += [text[i] for i in rng.integers(0, len(text), int(rng.integers(6, 60)))]
        answers.append(answer[:512])
    return answers


def timed(action: Callable[[], Any]) -> tuple[Any, float, float]:
    """Result, processor seconds, elapsed seconds."""
    processor, elapsed = time.process_time(), time.perf_counter()
    result = action()
    return result, time.process_time() - processor, time.perf_counter() - elapsed


def measure(megabytes: int, count: int, folder: Path) -> dict[str, Any]:
    texts = make_corpus(megabytes)
    answers = make_answers(texts, count)
    blobs = [" ".join(text).encode() for text in texts]
    snapshot = make_snapshot("spans/1", blobs, range(len(blobs)))
    materials = {content_hash(blob): blob for blob in blobs}
    prepared, build_processor, build = timed(lambda: prepare(snapshot, materials))
    [segment] = prepared.index.segments
    _, array_processor, array = timed(lambda: suffix_array(segment.ids))
    path = save(folder, segment)
    _, _, load_seconds = timed(lambda: load(path))
    cost = Cost()
    attribute(prepared, answers[:1], Cost())
    singles = [timed(lambda each=each: attribute(prepared, [each], cost)) for each in answers]
    together = timed(
        lambda: [found for i in range(0, count, 8) for found in attribute(prepared, answers[i : i + 8], Cost())]
    )
    assert together[0] == [single[0][0] for single in singles]
    named = " ".join(answers[0]).encode()
    request = SpansRequest(
        snapshot=snapshot, answers=(Text(name=content_hash(named), size_bytes=len(named), tokens=512),)
    )
    assert compute(request, {content_hash(named): named}, prepared).answers[0] == singles[0][0][0]
    figures = {
        "megabytes": megabytes,
        "records": len(texts),
        "tokens": segment.token_count,
        "build_processor_s": round(build_processor, 2),
        "build_s": round(build, 2),
        "suffix_array_and_check_processor_s": round(array_processor, 2),
        "suffix_array_and_check_s": round(array, 2),
        "load_and_check_s": round(load_seconds, 2),
        "bytes_per_token": round(path.stat().st_size / segment.token_count, 2),
        "answer_processor_ms": round(1000 * float(np.median([single[1] for single in singles])), 2),
        "answer_ms": round(1000 * float(np.median([single[2] for single in singles])), 2),
        "answer_in_batches_ms": round(1000 * together[2] / count, 2),
        "steps_of_bound": f"{cost.steps // count} of {request.multiply_accumulates():.2e}",
    }
    if importlib.util.find_spec("infini_gram") is not None:
        figures |= peer(prepared, answers, folder)
    return figures


def peer(prepared: Prepared, answers: list[list[str]], folder: Path) -> dict[str, Any]:
    """infini-gram on the same ids: its own program builds the suffix array, its engine answers."""
    import infini_gram
    from infini_gram.engine import InfiniGramEngine

    [segment] = prepared.index.segments
    width = segment.ids.dtype.itemsize
    separator = (1 << (8 * width)) - 1
    place = folder / "peer"
    (place / "parts").mkdir(parents=True)
    # Their documents begin with a separator, which is the largest id; ours end with 0.
    ids = np.concatenate(([0], segment.ids[:-1])).astype(segment.ids.dtype)
    (place / "tokenized.0").write_bytes(np.where(ids == 0, separator, ids).astype(f"<u{width}").tobytes())
    (place / "offset.0").write_bytes((segment.starts.astype("<u8") * width).tobytes())
    size_bytes = len(ids) * width
    ratio = int(np.ceil(np.log2(size_bytes) / 8))
    program = Path(infini_gram.__file__).parent / "rust_indexing"
    data = ["--data-file", str(place / "tokenized.0"), "--ratio", str(ratio), "--token-width", str(width)]
    steps = (
        ["make-part", "--parts-dir", str(place / "parts"), "--start-byte", "0", "--end-byte", str(size_bytes)],
        ["merge", "--parts-dir", str(place / "parts"), "--merged-dir", str(place / "merged"), "--num-threads", "1",
         "--hacksize", "100000"],
        ["concat", "--merged-dir", str(place / "merged"), "--merged-file", str(place / "table.0"), "--num-threads",
         "1"],
    )  # fmt: skip
    (place / "merged").mkdir()

    def build() -> None:
        for step in steps:
            subprocess.run([program, *step, *data], check=True, capture_output=True)

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _, _, build_seconds = timed(build)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    engine = InfiniGramEngine(
        index_dir=str(place), eos_token_id=separator - 1, vocab_size=separator, token_dtype=f"u{8 * width}"
    )
    ends_of, times = 0, []
    for answer in answers:
        asked = segment.look_up(answer)
        known = [int(i) if i != UNKNOWN else separator - 1 for i in asked]
        found, processor, elapsed = timed(
            lambda known=known: engine.attribute(
                input_ids=known, delim_ids=[], min_len=MINIMUM_SPAN_TOKENS, max_cnt=1 << 30, enforce_bow=False
            )
        )
        times.append((processor, elapsed))
        theirs = sorted((span["l"], span["r"]) for span in found["spans"])
        lengths = longest_matches(segment.haystack, asked, np.full(len(asked), len(asked)), Cost())
        ends = np.arange(len(asked)) + lengths
        ours = [
            (begin, int(ends[begin]))
            for begin in range(len(asked))
            if lengths[begin] >= MINIMUM_SPAN_TOKENS and (begin == 0 or ends[begin - 1] < ends[begin])
        ]
        ends_of += ours == theirs
    table = (place / "table.0").stat().st_size + (place / "tokenized.0").stat().st_size
    return {
        "peer_suffix_array_processor_s": round(processor_seconds, 2),
        "peer_suffix_array_s": round(build_seconds, 2),
        "peer_bytes_per_token": round(table / segment.token_count, 2),
        "peer_answer_processor_ms": round(1000 * float(np.median([each[0] for each in times])), 2),
        "peer_answer_ms": round(1000 * float(np.median([each[1] for each in times])), 2),
        "answers_with_identical_spans": f"{ends_of} of {len(answers)}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, action="append", help="Size of the corpus; repeatable.")
    parser.add_argument("--answers", type=int, default=40)
    arguments = parser.parse_args()
    print(f"seed {SEED}, builder {'pydivsufsort' if importlib.util.find_spec('pydivsufsort') else 'numpy'}")
    for megabytes in arguments.megabytes or [1, 10, 50]:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(megabytes, arguments.answers, Path(folder)), indent=1))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
