"""Fits stages over and over, killed without a warning at given moments; for test_killed.py.

Reads the moments, one a line: after how many training steps; after how many records of runs, as
``record 2``; or ``never``. Each is a process of its own, forked from this one, which has imported
everything.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import mmfuse.configured  # noqa: F401  (so that each fork has it)
from mmfuse.cli import main
from mmfuse.stages.runs import StageRun
from mmfuse.tasks.trained import TrainedTask


def die_after(count: int, cls: type, method: str) -> None:
    """Ends the process after the given number of calls, as an operator or the kernel would."""
    original, calls = getattr(cls, method), iter(range(1, count + 1))

    def counted(*args: Any, **kwargs: Any) -> Any:
        found = original(*args, **kwargs)
        if next(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    setattr(cls, method, counted)


if __name__ == "__main__":
    words = sys.argv[1:]
    for moment in sys.stdin:
        child = os.fork()
        if not child:
            kind, _, count = moment.strip().rpartition(" ")
            if kind == "record":  # a run is written down when it begins and when it ends
                die_after(int(count), StageRun, "save")
            elif count != "never":
                die_after(int(count), TrainedTask, "on_before_zero_grad")
            os._exit(main(words))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        words = [*sys.argv[1:], "--ckpt_path=last"]
