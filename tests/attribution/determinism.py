"""`python -m tests.attribution.determinism`: every engine's golden digests under many settings of this machine.

Each setting makes the libraries choose the kernels of another machine, as far as the processor allows, in a process of
its own. `tests/attribution/*/digests.py` say what is computed. The table has one digest over all of it in each row;
status 1 if two rows differ.

The control is what is never used: a float64 product of real numbers (with torch, also an exponential, and int8 products
beyond their proof). Where it has many values, the settings do change what the machine computes. `--plant` counts it in,
so that the sweep must fail.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from attribution.products import Backend
from tests.attribution import backends

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PLANTED = "planted: a product of real numbers"
CHILD_TIMEOUT_S = 600


def dispatched(keep: int) -> str:
    """Instruction sets that numpy would choose at run time, without the first ones."""
    core = "numpy._core" if hasattr(np, "_core") else "numpy.core"
    library: Any = importlib.import_module(f"{core}._multiarray_umath")
    found = [name for name in library.__cpu_dispatch__ if library.__cpu_features__.get(name)]
    return " ".join(found[keep:])


def threads(count: int) -> dict[str, str]:
    return dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(count))


def settings() -> dict[str, tuple[Backend, dict[str, str]]]:
    """Back end and environment of each row."""
    numpy_rows = {
        "as it is": {},
        "2 threads": threads(2),
        "3 threads": threads(3),
        "BLAS kernel of 2004": {"OPENBLAS_CORETYPE": "Prescott"},
        "BLAS kernel of 2008": {"OPENBLAS_CORETYPE": "Nehalem"},
        "BLAS kernel of 2011": {"OPENBLAS_CORETYPE": "Sandybridge"},
        "BLAS kernel of 2011, AMD": {"OPENBLAS_CORETYPE": "Bulldozer"},
        "BLAS kernel of 2013": {"OPENBLAS_CORETYPE": "Haswell"},
        "BLAS kernel of 2017": {"OPENBLAS_CORETYPE": "SkylakeX"},
        "BLAS kernel of 2017, AMD": {"OPENBLAS_CORETYPE": "Zen"},
        "BLAS kernel of 2020": {"OPENBLAS_CORETYPE": "Cooperlake"},
        "numpy without vectors": {"NPY_DISABLE_CPU_FEATURES": dispatched(0), "OPENBLAS_CORETYPE": "Nehalem"},
        "numpy with AVX2 at most": {"NPY_DISABLE_CPU_FEATURES": dispatched(1)},
        "another hash order": {"PYTHONHASHSEED": "7"},
        "without asserts": {"PYTHONOPTIMIZE": "1"},
    }
    torch_rows = {
        "as it is": {},
        "2 threads": threads(2),
        "oneDNN with SSE4.1": {"ONEDNN_MAX_CPU_ISA": "SSE41"},
        "oneDNN with AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
        "oneDNN with AVX-512, no VNNI": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
        "ATen without vectors": {"ATEN_CPU_CAPABILITY": "default"},
        "ATen with AVX2": {"ATEN_CPU_CAPABILITY": "avx2"},
        "MKL with SSE4.2": {"MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
        "MKL with AVX2": {"MKL_ENABLE_INSTRUCTIONS": "AVX2"},
        "all of them capped": {
            "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41",
        },
    }  # fmt: skip
    rows = {f"numpy, {name}": (Backend.NUMPY, threads(1) | changes) for name, changes in numpy_rows.items()}
    rows |= {f"torch, {name}": (Backend.TORCH, threads(1) | changes) for name, changes in torch_rows.items()}
    return rows | {"CUDA": (Backend.CUDA, threads(1))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one setting computed."""

    setting: str
    digests: Mapping[str, str] = field(default_factory=dict)
    control: str = ""
    """Digest of the real-valued product."""
    skipped: tuple[str, ...] = ()
    """Engines left out, and why."""
    fault: str = ""
    """What the process said instead of digests."""
    absent: str = ""
    """Why the setting is not there on this machine."""
    seconds: float = 0.0


def overall(row: Row) -> str:
    """One digest over all of a row's."""
    return hashlib.sha256(json.dumps(dict(row.digests), sort_keys=True).encode()).hexdigest()[:16]


def disagreements(rows: list[Row]) -> list[str]:
    """A line for each name and setting that differs from what most rows have."""
    told = [row for row in rows if not row.absent]
    found = [f"{row.setting}: {row.fault}" for row in told if row.fault]
    for name in sorted({name for row in told for name in row.digests}):
        values = {row.setting: row.digests[name] for row in told if name in row.digests}
        usual, _ = Counter(values.values()).most_common(1)[0]
        found += [
            f"{setting}: {name}: {value[:16]}, elsewhere {usual[:16]}"
            for setting, value in values.items()
            if value != usual
        ]
    return found


def line(row: Row) -> str:
    """A row of the table."""
    what = row.absent or ("failed" if row.fault else overall(row))
    left_out = f"  without {', '.join(row.skipped)}" if row.skipped else ""
    return f"{row.setting:36} {what:18} {row.control[:8]:9} {row.seconds:5.1f} s{left_out}"


def real_product() -> str:
    """Digest of a product of real numbers, which depends on the order of summation."""
    words = np.frombuffer(hashlib.shake_256(b"planted").digest(8 * 2 * 300 * 500), dtype=">i8").astype(np.float64)
    left, right = words[:150_000].reshape(300, 500) / 3, words[150_000:].reshape(500, 300) / 7
    if backends.used() is Backend.NUMPY:
        return hashlib.sha256((left @ right).tobytes()).hexdigest()
    # Only the rows of torch may load it.
    import torch

    device = "cuda" if backends.used() is Backend.CUDA else "cpu"
    parts = [torch.from_numpy(left).to(device) @ torch.from_numpy(right).to(device)]
    # What ATen's vectors and oneDNN's 8-bit products, which saturate on some processors, make of it.
    parts.append(torch.exp(parts[0] / parts[0].abs().max()))
    parts.append(torch._int_mm(*(torch.full((64, 64), 127, dtype=torch.int8, device=device) for _ in range(2))))
    return hashlib.sha256(b"".join(part.cpu().numpy().tobytes() for part in parts)).hexdigest()


def collect(engines: list[str], may_skip: bool) -> tuple[dict[str, str], list[str]]:
    """Digests of the engines in this process, and those left out because a library is not there."""
    found: dict[str, str] = {}
    skipped: list[str] = []
    for path in sorted(HERE.glob("*/digests.py")):
        engine = path.parent.name
        if engines and engine not in engines:
            continue
        try:
            program = importlib.import_module(f"tests.attribution.{engine}.digests")
            found |= {f"{engine}: {name}": value for name, value in program.digests().items()}
        except ModuleNotFoundError as error:
            if not may_skip:
                raise
            skipped.append(f"{engine} (no {error.name})")
    return found, skipped


def child(arguments: argparse.Namespace) -> None:
    """Computes, and prints JSON."""
    backends.use(Backend(arguments.child))
    digests, skipped = collect(arguments.engines, arguments.may_skip)
    print(json.dumps({"digests": digests, "skipped": skipped, "control": real_product()}))


def perform(setting: str, command: list[str], environment: Mapping[str, str], is_planted: bool) -> Row:
    """One row, from a process of its own."""
    begun = time.monotonic()
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=CHILD_TIMEOUT_S,
        check=False,
    )
    seconds = time.monotonic() - begun
    if done.returncode:
        last = (done.stderr.strip() or "nothing said").splitlines()[-1]
        return Row(setting=setting, fault=f"status {done.returncode}: {last}", seconds=seconds)
    told = json.loads(done.stdout.splitlines()[-1])
    digests = told["digests"] | ({PLANTED: told["control"]} if is_planted else {})
    return Row(
        setting=setting, digests=digests, control=told["control"], skipped=tuple(told["skipped"]), seconds=seconds
    )


def cuda_is_absent_because() -> str:
    """Empty where a CUDA device is there."""
    code = "import torch; print(torch.version.cuda or '', torch.cuda.is_available())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        return "no torch"
    if done.stdout.endswith("True\n"):
        return ""
    return "no CUDA device" if done.stdout.strip() != "False" else "torch without CUDA"


def sweep(arguments: argparse.Namespace) -> list[Row]:
    """The rows, each printed when it is there."""
    rows = []
    print(f"{'setting':36} {'one digest of all':18} {'control':9} {'time':>7}", flush=True)
    for setting, (backend, environment) in settings().items():
        if arguments.only and not any(word in setting for word in arguments.only):
            continue
        absent = cuda_is_absent_because() if backend is Backend.CUDA else ""
        command = [sys.executable, "-m", "tests.attribution.determinism", "--child", backend.value, *arguments.engines]
        row = Row(setting=setting, absent=absent) if absent else perform(setting, command, environment, arguments.plant)
        rows.append(row)
        print(line(row), flush=True)
    return rows


def judge(rows: list[Row]) -> int:
    """Prints the verdict and returns the status."""
    found = disagreements(rows)
    counted = [row for row in rows if not row.absent]
    controls = len({row.control for row in counted if row.control})
    names = len({name for row in counted for name in row.digests})
    print(f"\n{len(counted)} settings, {names} digests each; the control product had {controls} values.")
    if not counted or not names:
        print("Nothing was computed.")
        return 1
    for each in found:
        print(f"DIFFERS  {each}")
    print("All settings agree." if not found else f"{len(found)} disagreements.")
    return 1 if found else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.attribution.determinism", description=__doc__)
    parser.add_argument("engines", nargs="*", help="only these (exact, head, ...)")
    parser.add_argument("--only", action="append", help="only settings whose name holds this; may be repeated")
    parser.add_argument("--plant", action="store_true", help="count the product of real numbers in: status 1 is right")
    parser.add_argument("--child", choices=[each.value for each in Backend], help=argparse.SUPPRESS)
    parser.add_argument("--may-skip", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    parsed = parse()
    if parsed.child:
        child(parsed)
    else:
        sys.exit(judge(sweep(parsed)))
