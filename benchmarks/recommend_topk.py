"""Exact top items in blocks beside the whole matrix of scores: time, memory, and a million items.

The plain way makes every score, masks what was seen and takes torch's topk. Time is compared in
alternation at a size where the matrix fits. Memory is that of a process of its own, whose peak is
counted above what it held before, the vectors among it.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
from ratio import compare, seconds
from torch import Tensor

from mmfuse.recommend import ItemLists
from mmfuse.recommend.ranking import dot, top_items

WIDTH, SEEN = 64, 50


def plain(users: Tensor, items: Tensor, seen: ItemLists, k: int) -> tuple[Tensor, Tensor]:
    scores = users @ items.T
    scores[seen.rows(torch.arange(len(users)))] = -torch.inf
    best = scores.topk(k)
    return best.indices, best.values


def blocked(users: Tensor, items: Tensor, seen: ItemLists, k: int) -> tuple[Tensor, Tensor]:
    found = top_items(users, items, dot, k, seen)
    return found.items, found.scores


def drawn(users: int, items: int) -> tuple[Tensor, Tensor, ItemLists]:
    draw = torch.Generator().manual_seed(0)
    pairs = torch.arange(users).repeat_interleave(SEEN)
    taken = torch.randint(items, (users * SEEN,), generator=draw)
    vectors = (torch.randn(n, WIDTH, generator=draw) for n in (users, items))
    return *vectors, ItemLists.of(pairs, taken, users, items)


def measure(way: str, users: int, items: int, k: int) -> None:
    """Prints seconds and megabytes, in JSON."""
    given = drawn(users, items)
    run = WAYS[way]
    run(*drawn(64, 4096), k)  # what torch sets up once
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    run(*given, k)
    found = {
        "seconds": time.perf_counter() - start,
        "megabytes": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
    }
    print(json.dumps(found))


def measured(way: str, users: int, items: int, k: int) -> dict[str, float]:
    """``measure`` in a process of its own, told."""
    words = [sys.executable, __file__, "--measure", way]
    words += ["--users", str(users), "--items", str(items), "--k", str(k)]
    out = subprocess.run(words, capture_output=True, check=True).stdout
    found: dict[str, float] = json.loads(out)
    print(
        f"{way}, {users:,} users x {items:,} items x {WIDTH}, top {k}: {found['seconds']:.1f} s, "
        f"{found['megabytes']:,.0f} MB",
        flush=True,
    )
    return found


WAYS: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {"blocked": blocked, "plain": plain}


def main() -> None:
    """Both ways where both fit, then the large size in blocks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=1000, help="where the matrix fits")
    parser.add_argument("--items", type=int, default=200_000, help="where the matrix fits")
    parser.add_argument("--large", type=int, nargs=2, default=[10_000, 1_000_000])
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(given.measure, given.users, given.items, given.k)
        return
    # Before anything is held here: a process that is started counts that as its own peak.
    found = {way: measured(way, given.users, given.items, given.k) for way in WAYS}
    share = found["blocked"]["megabytes"] / found["plain"]["megabytes"]
    print(f"Blocked takes {share:.2f} of the memory of the whole matrix")
    users, items_there = given.large
    measured("blocked", users, items_there, given.k)
    print(f"There the whole matrix would be {users * items_there * 4 / 1e9:,.0f} GB")
    inputs = drawn(given.users, given.items)
    (items, scores), (others, others_scores) = (w(*inputs, given.k) for w in WAYS.values())
    torch.testing.assert_close(scores, others_scores)
    # Blocks of another size round a product otherwise, which may swap equals.
    assert (items == others).double().mean() > 0.999
    compare(
        f"Top {given.k} of {given.items:,} items for {given.users:,} users",
        {name: partial(seconds, partial(way, *inputs, given.k)) for name, way in WAYS.items()},
        given.rounds,
    )


if __name__ == "__main__":
    main()
