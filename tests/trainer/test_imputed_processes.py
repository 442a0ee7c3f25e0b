"""An imputer under two processes is shown the rows of both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_two_processes_keep_the_same_rows_as_one(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("imputed_run.py")), str(tmp_path), "2"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    found = json.loads(ran.stdout.strip().splitlines()[-1])
    assert len(found["together"]) == 50
    for one, other in zip(found["together"], found["alone"], strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-5)
