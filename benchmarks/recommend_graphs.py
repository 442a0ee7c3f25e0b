"""Graphs of a recommender: a step along them, making them, and what that costs as they grow.

Needs MMFUSE_DATA for amazon_baby's interactions.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable

import torch
from ratio import compare, seconds
from torch import Tensor

from mmfuse.recommend import CatalogueInteractions, ItemLists, RecommendationData
from mmfuse.recommend.graphs import most_shared, similarity_graph, user_item_graph
from mmfuse.recommend.propagation import GraphData, LightGCN

WIDTH, LAYERS, LOOPED = 64, 2, 1500


def baby() -> ItemLists:
    """The training interactions of amazon_baby."""
    return RecommendationData(CatalogueInteractions("amazon_baby")).interactions.lists("train")


def steps(train: ItemLists) -> dict[str, Callable[[], float]]:
    """Two layers of LightGCN on all vectors, forth and back: ours, torch's CSR and its COO."""
    count = len(train)
    users = torch.randn(count, WIDTH, requires_grad=True)
    items = torch.randn(train.count, WIDTH, requires_grad=True)
    ours = LightGCN(LAYERS)
    ours.build(GraphData(train))
    rows, columns, values = ours.graph.entries()
    places = torch.stack([torch.cat([rows, columns + count]), torch.cat([columns + count, rows])])
    size = (count + train.count,) * 2
    coo = torch.sparse_coo_tensor(places, torch.cat([values, values]), size).coalesce()
    csr = coo.to_sparse_csr()

    def plain(matrix: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.cat([users, items])
        found = [x]
        for _ in range(LAYERS):
            x = torch.sparse.mm(matrix, x)
            found.append(x)
        u, i = torch.stack(found, dim=1).mean(dim=1).split([count, train.count])
        return u, i

    def step(vectors: Callable[[], tuple[Tensor | None, Tensor | None]]) -> Callable[[], float]:
        def work() -> None:
            u, i = vectors()
            assert u is not None
            assert i is not None
            (u.sum() + i.sum()).backward()
            users.grad = items.grad = None

        return lambda: seconds(work, 3)

    return {
        "mmfuse": step(lambda: ours(users, items)),
        "torch CSR": step(lambda: plain(csr)),
        "torch COO": step(lambda: plain(coo)),
    }


def looped(train: ItemLists, k: int) -> list[list[tuple[int, int]]]:
    """Each user's k neighbours by a loop over all pairs of users."""
    users, items = train.pairs()
    taken: list[set[int]] = [set() for _ in range(len(train))]
    for user, item in zip(users.tolist(), items.tolist(), strict=True):
        taken[user].add(item)
    numbers: list[dict[int, int]] = [{} for _ in taken]
    for a in range(len(taken)):
        for b in range(a + 1, len(taken)):
            if shared := len(taken[a] & taken[b]):
                numbers[a][b] = numbers[b][a] = shared
    return [sorted(n.items(), key=lambda pair: (-pair[1], pair[0]))[:k] for n in numbers]


def cooccurrence(train: ItemLists) -> None:
    """Users that share items: a sparse product beside the double loop, on some of the users."""
    users, items = train.pairs()
    few = ItemLists.of(users[users < LOOPED], items[users < LOOPED], LOOPED, train.count)
    found = most_shared(few, 10)
    expected = [(a, b, n) for a, row in enumerate(looped(few, 10)) for b, n in row]
    assert list(zip(*(x.tolist() for x in found), strict=True)) == expected
    compare(
        f"10 neighbours by shared items among the first {LOOPED:,} users of amazon_baby",
        {
            "mmfuse": lambda: seconds(lambda: most_shared(few, 10)),
            "double loop": lambda: seconds(lambda: looped(few, 10)),
        },
        rounds=3,
    )
    whole, part = seconds(lambda: most_shared(train, 10)), seconds(lambda: looped(few, 10))
    pairs = (len(train) / LOOPED) ** 2
    print(
        f"all {len(train):,} users: mmfuse {whole:.2f} s, measured; the loop {part * pairs:.0f} s, "
        f"extrapolated by the number of pairs, {pairs:.0f} times as many\n"
    )


def drawn(users: int, items: int, each: int) -> ItemLists:
    """Random interactions, some items more popular than others."""
    draw = torch.Generator().manual_seed(0)
    user = torch.arange(users).repeat_interleave(each)
    item = (items * torch.rand(len(user), generator=draw).square()).long()
    return ItemLists.of(user, item, users, items)


def growth() -> None:
    """Cost of a graph of users and items as interactions grow tenfold."""
    print("A graph of users and items, made and used, as it grows (10 interactions a user)")
    for users in (100_000, 300_000, 1_000_000):
        train = drawn(users, users // 10, 10)
        start = time.perf_counter()
        graph = user_item_graph(train)
        made = time.perf_counter() - start
        x = torch.randn(train.count, WIDTH)
        graph(x)
        step = seconds(lambda graph=graph, x=x: graph(x), 3)
        million = len(train.items) / 1e6
        print(
            f"{million:6.2f} M interactions: made in {made:6.2f} s ({made / million:.2f} s a "
            f"million), a product {1000 * step:7.1f} ms ({1000 * step / million:.1f} ms a million)",
            flush=True,
        )
    print()


def peak() -> float:
    """The most memory that this process has held, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def large(items: int) -> None:
    """A graph of the 10 nearest of many items, in this process."""
    features = {"image": torch.randn(items, WIDTH, generator=torch.Generator().manual_seed(0))}
    before, start = peak(), time.perf_counter()
    graph = similarity_graph(features, {"image": torch.ones(items).bool()}, 10, {"image": 1.0})
    took = time.perf_counter() - start
    print(
        f"10 nearest of {items:,} items of width {WIDTH}: {took:.0f} s, {len(graph.columns):,} "
        f"edges; peak memory {before:.2f} GiB before, {peak():.2f} GiB after. All cosines would "
        f"fill {items**2 * 4 / 2**30:.0f} GiB."
    )


def main() -> None:
    warnings.filterwarnings("ignore", message="Sparse ")
    # First: a process's most memory is told to the processes that it starts.
    for items in ("50000", "200000"):
        subprocess.run([sys.executable, __file__, items], check=True)
    print(flush=True)
    train = baby()
    title = f"{LAYERS} layers of width {WIDTH}, forth and back, on amazon_baby"
    compare(title, steps(train), target="at most 0.50 of COO")
    cooccurrence(train)
    growth()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        large(int(sys.argv[1]))
    else:
        main()
