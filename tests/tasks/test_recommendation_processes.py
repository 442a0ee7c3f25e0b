"""A recommender over two processes: one model, every user ranked for once."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["graph", "sequences"])
def test_two_processes_learn_one_model_and_rank_for_every_user_once(
    tmp_path: Path, kind: str
) -> None:
    ran = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("ranked_run.py")), str(tmp_path), "2", kind],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    found = json.loads(ran.stdout.strip().splitlines()[-1])
    for name, value in found["alone"].items():
        assert found["together"][f"val/{name}"] == pytest.approx(value, rel=1e-5), name
    assert 0 < found["together"]["train/loss"] < math.log(2) * 1.1
    assert math.isfinite(found["together"]["val/loss"])
