import json
import os
import subprocess
import sys

import pytest

from tests.attribution.mlp.digests import VECTORS, digests


@pytest.mark.slow
def test_results_have_the_pinned_digests() -> None:
    assert digests() == json.loads(VECTORS.read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "setting", [{"OPENBLAS_CORETYPE": "Prescott"}, {"OPENBLAS_CORETYPE": "Zen", "OPENBLAS_NUM_THREADS": "2"}]
)
def test_digests_are_equal_on_other_machines(setting: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.attribution.mlp.digests"],
        env=os.environ | setting,
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(done.stdout) == json.loads(VECTORS.read_text(encoding="utf-8"))
