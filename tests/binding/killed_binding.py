"""Bindings that a test kills: the same at every start, each a fork of this process.

Reads a folder a line; prints the number of the process that works on it, then its status when it
has ended.
"""

from __future__ import annotations

import os
import sys

import torch
from planted_spaces import two_spaces

from mmfuse.binding import OmniBind, Training, bind


def work(folder: str) -> None:
    """Binds fixed items, with a stage for each of two members."""
    planted = two_spaces()
    pools = {
        "pictures": planted.pool("image", 80),
        "captions": planted.pool("text", 80, trained=["see"]),
        "sounds": planted.pool("audio", 80),
    }
    training = Training(steps=15, batch_size=32)
    method = OmniBind(members=2, hidden=32, router_hidden=(16, 8), training=training)
    bind(pools, method, base="see", seed=3, out=folder)


def main() -> None:
    """Forks a worker for each line."""
    torch.set_num_threads(1)
    for line in sys.stdin:
        if (pid := os.fork()) == 0:
            work(line.strip())
            os._exit(0)
        print(pid, flush=True)
        print(os.waitpid(pid, 0)[1], flush=True)


if __name__ == "__main__":
    main()
