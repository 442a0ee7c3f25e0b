"""CRMT's step 2 under two processes knows the rows of both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def found(folder: Path, processes: int) -> list[float]:
    folder.mkdir()
    script = str(Path(__file__).with_name("crmt_run.py"))
    ran = subprocess.run(
        [sys.executable, script, str(folder), str(processes)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    told: list[float] = json.loads(ran.stdout.strip().splitlines()[-1])
    return told


@pytest.mark.slow
def test_two_processes_find_the_bounds_and_the_cap_of_one(tmp_path: Path) -> None:
    together, alone = (found(tmp_path / str(n), n) for n in (2, 1))
    assert together[-1] > 0
    assert together == pytest.approx(alone, rel=1e-4)
