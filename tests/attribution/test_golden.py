import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

PROGRAM = Path(__file__).with_name("golden.py")


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


golden = load()


def cpu_features() -> str:
    """Every instruction set that numpy would choose at run time."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    return " ".join(name for name in __cpu_dispatch__ if __cpu_features__.get(name))


SETTINGS = {
    "one thread": {"OPENBLAS_NUM_THREADS": "1"},
    "two threads": {"OPENBLAS_NUM_THREADS": "2"},
    "kernel of 2004": {"OPENBLAS_CORETYPE": "Prescott"},
    "kernel of 2011": {"OPENBLAS_CORETYPE": "Sandybridge"},
    "kernel of 2013, other hash order": {"OPENBLAS_CORETYPE": "Haswell", "PYTHONHASHSEED": "7"},
    "AMD kernel, no asserts": {"OPENBLAS_CORETYPE": "Zen", "PYTHONOPTIMIZE": "1"},
    "no vector instructions in numpy": {"NPY_DISABLE_CPU_FEATURES": cpu_features(), "OPENBLAS_CORETYPE": "Nehalem"},
}


def test_small_model_is_as_pinned() -> None:
    known = json.loads(golden.HEAD.read_text(encoding="utf-8"))
    told = golden.small_case(bytes.fromhex(known["weights"]), bytes.fromhex(known["inverse"]))
    assert told == known


def test_large_results_have_the_pinned_digests() -> None:
    assert golden.digests() == json.loads(golden.DIGESTS.read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
def test_digests_are_equal_on_other_machines(setting: str) -> None:
    """A setting makes this machine choose the kernels of another, as far as its processor allows."""
    done = subprocess.run(
        [sys.executable, "-W", "error", PROGRAM],
        env=os.environ | SETTINGS[setting],
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(done.stdout) == json.loads(golden.DIGESTS.read_text(encoding="utf-8"))
