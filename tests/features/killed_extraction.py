"""Extractions that a test kills: the same at every start, each a fork of this process.

Reads a folder and a format a line; prints the number of the process that works on it, then
its status when it has ended.
"""

from __future__ import annotations

import os
import sys

import torch
from feature_samples import SlowEncoder, small_data

from mmfuse import Extractor, build_model


def work(folder: str, format: str) -> None:
    """Extracts with fixed weights."""
    torch.manual_seed(0)
    data = small_data()
    model = build_model(data.spec, {"a": SlowEncoder, "s": "GRUEncoder"}, "SequentialFusion")
    what = ["a", "s.tokens", "fused", "steps", "logits"]
    Extractor(model).extract(data, folder, what, format=format, shard_rows=4, batch_size=2)


def main() -> None:
    """Forks a worker for each line."""
    torch.set_num_threads(1)
    for line in sys.stdin:
        if (pid := os.fork()) == 0:
            work(*line.split())
            os._exit(0)
        print(pid, flush=True)
        print(os.waitpid(pid, 0)[1], flush=True)


if __name__ == "__main__":
    main()
