"""The contrastive core beside a plain InfoNCE: processor time and peak memory as batches grow.

Every measurement is a process of its own, with one thread: one loss and its gradient. The plain
side may take 8 GiB; where that is not enough, it says so.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table

from mmfuse.objectives.contrastive import info_nce

WIDTH, LIMIT = 512, 8 << 30
#: Rows of the batch, and how many rounds are measured.
BATCHES = {1024: 7, 8192: 3, 32768: 1}
SIDES = ("mmfuse", "plain")


def plain(x: torch.Tensor, y: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    logits, partner = scale * x @ y.T, torch.arange(len(x))
    return (F.cross_entropy(logits, partner) + F.cross_entropy(logits.T, partner)) / 2


def peak() -> float:
    """The most memory that this process has held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def measure(side: str, rows: int) -> None:
    """Prints seconds and further MiB of one loss and its gradient."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if side == "plain":
        resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    loss = info_nce if side == "mmfuse" else plain
    x, y = (F.normalize(torch.randn(rows, WIDTH), dim=1).requires_grad_() for _ in range(2))
    scale = torch.tensor(14.0, requires_grad=True)
    loss(x[:64], y[:64], scale).backward()  # what the first call alone takes
    before, start = peak(), time.process_time()
    try:
        loss(x, y, scale).backward()
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        print("out of memory")
        return
    print(time.process_time() - start, peak() - before)


def run(side: str, rows: int) -> tuple[float, float] | None:
    """Seconds and MiB; None where memory does not suffice."""
    command = [sys.executable, __file__, "--side", side, "--rows", str(rows)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    if "out of memory" in done.stdout:
        return None
    seconds, mib = map(float, done.stdout.split())
    return seconds, mib


def main() -> None:
    table = Table(
        title=f"Symmetric InfoNCE and its gradient, width {WIDTH}, float32, one thread",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for column in ("batch", "mmfuse s", "MiB", "plain s", "MiB", "ratio of time", "of memory"):
        table.add_column(column, justify="right")
    for rows, rounds in BATCHES.items():
        found = [[run(side, rows) for side in SIDES] for _ in range(rounds)]
        medians = [
            [statistics.median(v) for v in zip(*of_side, strict=True)] if all(of_side) else None
            for of_side in zip(*found, strict=True)
        ]
        cells = [
            text
            for m in medians
            for text in (("-", f"> {LIMIT >> 20}") if m is None else (f"{m[0]:.3f}", f"{m[1]:.0f}"))
        ]
        ours, theirs = medians
        both = ours is not None and theirs is not None
        ratios = [f"{a / b:.2f}" for a, b in zip(ours, theirs, strict=True)] if both else ["-", "-"]
        table.add_row(f"{rows:,}", *cells, *ratios)
    console = Console()
    console.print(table)
    console.print(
        "Seconds of the processor, medians; MiB beyond the inputs. target: memory linear in the "
        "batch, time of the plain form where that fits"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--rows", type=int, default=1024)
    given = parser.parse_args()
    if given.side:
        measure(given.side, given.rows)
    else:
        main()
