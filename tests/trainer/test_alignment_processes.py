"""An alignment over two processes: one model, and every validation row scored once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_two_processes_learn_one_model_and_score_every_row_once(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("aligned_run.py")), str(tmp_path), "2"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    found = json.loads(ran.stdout.strip().splitlines()[-1])
    assert "val/a_to_b/r_at_1" in found["alone"]
    for name, value in found["alone"].items():
        assert found["together"][name] == pytest.approx(value, rel=1e-4), name
