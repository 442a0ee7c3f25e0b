"""Retrieval scores in blocks beside the plain matrix: time, memory, and one hundred thousand rows.

Each measurement is a process of its own, whose peak memory is counted above what it held before.
The plain way ranks a whole matrix of similarities, with torch alone.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import torch
from torch import Tensor

from mmfuse.retrieval import retrieval_scores

CLASSES = 10


def plain_pairs(x: Tensor, y: Tensor) -> list[float]:
    """Recall at 1, 5 and 10 and the median rank, from the whole matrix."""
    near = torch.nn.functional.normalize(x, dim=1) @ torch.nn.functional.normalize(y, dim=1).T
    rank = (near > near.diagonal().unsqueeze(1)).sum(dim=1) + 1
    return [*((rank <= k).double().mean().item() for k in (1, 5, 10)), rank.median().item()]


def plain_classes(x: Tensor, y: Tensor, labels: Tensor) -> list[float]:
    """Mean average precision, from the whole matrix."""
    near = torch.nn.functional.normalize(x, dim=1) @ torch.nn.functional.normalize(y, dim=1).T
    relevant = labels[near.argsort(dim=1, descending=True)] == labels.unsqueeze(1)
    hits = relevant.cumsum(dim=1) / torch.arange(1, len(y) + 1)
    return [((hits * relevant).sum(dim=1) / relevant.sum(dim=1)).mean().item()]


def blocked_pairs(x: Tensor, y: Tensor) -> list[float]:
    """The same with ``retrieval_scores``."""
    scores = retrieval_scores(x, y)
    return [*scores.recall.values(), scores.median_rank]


def blocked_classes(x: Tensor, y: Tensor, labels: Tensor) -> list[float]:
    """The same with ``retrieval_scores``."""
    scores = retrieval_scores(x, y, query_labels=labels, item_labels=labels)
    return [scores.mean_average_precision]


def measure(way: str, what: str, rows: int, width: int) -> None:
    """Prints seconds, megabytes and scores, in JSON."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(rows, width, generator=draw)
    y = x + 2 * torch.randn(rows, width, generator=draw)
    labels = torch.arange(rows) % CLASSES
    run = globals()[f"{way}_{what}"]
    given = (x, y, labels) if what == "classes" else (x, y)
    run(*(g[:64] for g in given))  # what torch sets up once
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    scores = run(*given)
    seconds = time.perf_counter() - start
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps({"seconds": seconds, "megabytes": grown, "scores": scores}))


def measured(way: str, what: str, rows: int, width: int) -> dict[str, object]:
    """``measure`` in a process of its own."""
    words = [sys.executable, __file__, "--measure", way, what, str(rows), "--width", str(width)]
    found: dict[str, object] = json.loads(
        subprocess.run(words, capture_output=True, check=True).stdout
    )
    return found


def main() -> None:
    """A line each: pairs and classes at a size where the matrix fits, then the large one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=8000, help="where the plain matrix fits")
    parser.add_argument("--large", type=int, default=100_000, help="where it does not; 0 for none")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        way, what, rows = given.measure
        measure(way, what, int(rows), given.width)
        return
    for what in ("pairs", "classes"):
        found = {way: measured(way, what, given.rows, given.width) for way in ("plain", "blocked")}
        for way, numbers in found.items():
            _tell(f"{what}, {way}", given.rows, numbers)
        torch.testing.assert_close(
            torch.tensor(found["blocked"]["scores"]),
            torch.tensor(found["plain"]["scores"]),
            rtol=1e-3,
            atol=1e-3,
        )
        time_ratio, memory_ratio = (
            found["blocked"][unit] / found["plain"][unit]  # type: ignore[operator]
            for unit in ("seconds", "megabytes")
        )
        print(
            f"{what}: blocked takes {time_ratio:.2f} of the time, {memory_ratio:.2f} of the memory"
        )
    for what in ("pairs", "classes") if given.large else ():
        _tell(f"{what}, blocked", given.large, measured("blocked", what, given.large, given.width))


def _tell(what: str, rows: int, found: dict[str, object]) -> None:
    print(
        f"{what}, {rows:,} x {rows:,}: {found['seconds']:.1f} s, {found['megabytes']:,.0f} MB",
        flush=True,
    )


if __name__ == "__main__":
    main()
