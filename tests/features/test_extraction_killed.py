"""A killed extraction goes on, and nobody can tell afterwards."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from mmfuse import features

SCRIPT = Path(__file__).with_name("killed_extraction.py")


class Workers:
    """The script, its processes ended one by one."""

    def __init__(self) -> None:
        pipe = subprocess.PIPE
        words = [sys.executable, str(SCRIPT)]
        self.process = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, bufsize=1)

    def start(self, folder: Path, format: str) -> int:
        """The number of a process that begins to extract."""
        self.process.stdin.write(f"{folder} {format}\n")
        return int(self.process.stdout.readline())

    def end(self) -> int:
        """The status of the process that was started last."""
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def workers():
    made = Workers()
    yield made
    made.process.communicate()


def files(folder: Path) -> dict[str, bytes]:
    """Every file that is not hidden, by its place."""
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and not p.name.startswith(".")
    }


@pytest.mark.parametrize("format", ["parquet", "safetensors"])
def test_killed_at_random_moments_it_ends_as_if_it_never_was(workers, tmp_path, format):
    for name in ("first", "whole"):  # the first one warms the script up
        begun = time.monotonic()
        workers.start(tmp_path / name, format)
        assert workers.end() == 0
        took = time.monotonic() - begun
    whole, folder = files(tmp_path / "whole"), tmp_path / "killed"
    draw, kills = random.Random(7), 0
    while kills < 20:
        pid = workers.start(folder, format)
        time.sleep(draw.uniform(0, took / 2))
        with suppress(ProcessLookupError):  # it has ended
            os.kill(pid, signal.SIGKILL)
        was_killed = workers.end() == signal.SIGKILL
        part = files(folder) if folder.exists() else {}
        # Whatever the moment, what has its final name is whole.
        assert all(whole[name] == content for name, content in part.items())
        if was_killed:
            kills += 1
            continue
        assert part == whole
        shutil.rmtree(folder)
        took *= 0.7  # the first measure was long; kill sooner
    workers.start(folder, format)
    assert workers.end() == 0
    assert files(folder) == whole
    assert not [p for p in (folder / "data").iterdir() if p.name.startswith(".")]
    assert features.load(folder)["row"][:] == list(range(53))
