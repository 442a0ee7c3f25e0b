"""A killed binding goes on at the stage where it stopped, and nobody can tell afterwards."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("killed_binding.py")


@pytest.fixture(scope="module")
def workers():
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT)], stdin=pipe, stdout=pipe, text=True, bufsize=1
    )
    yield process
    process.communicate()


def start(workers, folder: Path) -> int:
    workers.stdin.write(f"{folder}\n")
    return int(workers.stdout.readline())


def end(workers) -> int:
    return int(workers.stdout.readline())


def is_alive(pid: int) -> bool:
    """Whether a process runs; its parent looks at once when it ends."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def files(folder: Path) -> dict[str, bytes]:
    """Every file that is not hidden, by its place."""
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and not p.name.startswith(".")
    }


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_as_if_it_never_was(workers, tmp_path):
    for name in ("first", "whole"):  # the first one warms the script up
        begun = time.monotonic()
        start(workers, tmp_path / name)
        assert end(workers) == 0
        took = time.monotonic() - begun
    whole, folder = files(tmp_path / "whole"), tmp_path / "killed"
    assert whole == files(tmp_path / "first")
    stages = {"pairs", "projector-hear-0", "projector-hear-1", "routers"}
    assert {Path(n).stem for n in whole} == stages | {"plan", "bound"}
    draw, kills, reached = random.Random(7), 0, set()
    while kills < 8:
        there = len(files(folder)) if folder.exists() else 0
        pid = start(workers, folder)
        # On a slow machine none may end in the time that all took: every other kill waits for one.
        while kills % 2 and is_alive(pid) and not (folder.exists() and len(files(folder)) > there):
            time.sleep(0.001)
        time.sleep(draw.uniform(0, took / (8 if kills % 2 else 1)))
        with suppress(ProcessLookupError):  # it has ended
            os.kill(pid, signal.SIGKILL)
        was_killed = end(workers) == signal.SIGKILL
        part = files(folder) if folder.exists() else {}
        # Whatever the moment, what has its final name is whole, and what it will be.
        assert all(whole[name] == content for name, content in part.items())
        reached.add(len(part))
        if was_killed:
            kills += 1
            continue
        assert part == whole
        folder = folder.with_name(f"{folder.name}-")
    start(workers, folder)
    assert end(workers) == 0
    assert files(folder) == whole
    assert len(reached) > 1  # it was killed in the midst of stages
