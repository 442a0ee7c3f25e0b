"""The common way to train and rank recommenders, written out literally, as a reference for speed.

All items pass through every projection at every step, raw features are parameters (but for VBPR),
graphs are sparse matrices, negatives are drawn one by one in Python, the model runs anew for
every block of users that is ranked, and metrics come from lists of hits. The models follow their
papers; no line is copied from anyone's code. Run, it prints the seconds of an epoch and of a test
evaluation of each model.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH, BATCH, RANKED, TOP = 64, 2048, 4096, (5, 10, 20, 50)
Triples = tuple[Tensor, Tensor, Tensor]


class Log:
    """Interactions as Python sets and lists."""

    def __init__(self, frame: pd.DataFrame, users: int, items: int) -> None:
        self.users, self.items = users, items
        parts = {name: frame[frame.split == name] for name in ("train", "valid", "test")}
        train = parts["train"]
        self.pairs = list(zip(train.user.tolist(), train.item.tolist(), strict=True))
        self.matrix = sp.coo_matrix((np.ones(len(train)), (train.user, train.item)), (users, items))
        self.taken, self.wanted = defaultdict(set), defaultdict(set)
        self.known = defaultdict(set)
        for user, item in self.pairs:
            self.taken[user].add(item)
        for name, known in (("train", self.known), ("valid", self.known), ("test", self.wanted)):
            for user, item in zip(
                parts[name].user.tolist(), parts[name].item.tolist(), strict=True
            ):
                known[user].add(item)

    @classmethod
    def named(cls, name: str) -> Log:
        """A set below MMFUSE_DATA."""
        frame = pd.read_parquet(Path(os.environ["MMFUSE_DATA"]) / name / "interactions.parquet")
        return cls(frame, frame.user.max() + 1, frame.item.max() + 1)

    def batches(self) -> list[Triples]:
        """Pairs in a new order, with a negative each, drawn one by one."""
        random.shuffle(self.pairs)
        made = []
        for start in range(0, len(self.pairs), BATCH):
            some = self.pairs[start : start + BATCH]
            negatives = []
            for user, _ in some:
                item = random.randrange(self.items)
                while item in self.taken[user]:
                    item = random.randrange(self.items)
                negatives.append(item)
            users, items = torch.tensor(some).T
            made.append((users, items, torch.tensor(negatives)))
        return made


def normalised(rows: Tensor, columns: Tensor, size: int) -> Tensor:
    """D^-1/2 A D^-1/2; as CSR, since COO makes this slower than the public code was measured."""
    degree = torch.zeros(size).index_add_(0, rows, torch.ones(len(rows)))
    values = (degree[rows] * degree[columns]).rsqrt()
    matrix = torch.sparse_coo_tensor(torch.stack([rows, columns]), values, (size, size))
    return matrix.coalesce().to_sparse_csr()


def picked(x: Tensor, index: Tensor) -> Tensor:
    """Some rows, with the gradient that is fastest."""
    return F.embedding(index, x)


def bpr(users: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """The mean of -log sigmoid of the difference of scores."""
    return -F.logsigmoid((users * positive).sum(1) - (users * negative).sum(1)).mean()


class LightGCN(nn.Module):
    """Propagation on ids."""

    layers, reg = 2, 1e-4

    def __init__(self, log: Log, features: dict[str, Tensor]) -> None:
        super().__init__()
        self.log = log
        self.user, self.item = nn.Embedding(log.users, WIDTH), nn.Embedding(log.items, WIDTH)
        nn.init.xavier_uniform_(self.user.weight)
        nn.init.xavier_uniform_(self.item.weight)
        self.rows = torch.tensor(log.matrix.row, dtype=torch.long)
        self.columns = torch.tensor(log.matrix.col, dtype=torch.long)
        self.full = self.graph(self.rows, self.columns)

    def graph(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Both directions of some interactions."""
        there = columns + self.log.users
        both = torch.cat([rows, there]), torch.cat([there, rows])
        return normalised(*both, self.log.users + self.log.items)

    def start_epoch(self) -> None:
        """Nothing is drawn."""

    def propagate(self, graph: Tensor) -> tuple[Tensor, Tensor]:
        """The mean of all layers."""
        x = torch.cat([self.user.weight, self.item.weight])
        total = x
        for _ in range(self.layers):
            x = torch.sparse.mm(graph, x)
            total = total + x
        users, items = (total / (self.layers + 1)).split([self.log.users, self.log.items])
        return users, items

    def vectors(self) -> tuple[Tensor, Tensor]:
        """Final vectors of all users and items."""
        return self.propagate(self.full)

    def loss(self, users: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """BPR and the squares of the batch's ids."""
        u, i = self.vectors()
        ids = self.user(users), self.item(positive), self.item(negative)
        squares = sum(x.square().sum() for x in ids) / len(users)
        return bpr(picked(u, users), picked(i, positive), picked(i, negative)) + self.reg * squares


class VBPR(nn.Module):
    """Ids beside a projection of the joined features."""

    reg = 1e-4

    def __init__(self, log: Log, features: dict[str, Tensor]) -> None:
        super().__init__()
        self.user, self.item = nn.Embedding(log.users, 2 * WIDTH), nn.Embedding(log.items, WIDTH)
        self.features = torch.cat(list(features.values()), dim=1)
        self.project = nn.Linear(self.features.shape[1], WIDTH)
        for weight in (self.user.weight, self.item.weight, self.project.weight):
            nn.init.xavier_uniform_(weight)

    def start_epoch(self) -> None:
        """Nothing is drawn."""

    def vectors(self) -> tuple[Tensor, Tensor]:
        """Final vectors of all users and items."""
        content = self.project(self.features)
        return self.user.weight, torch.cat([self.item.weight, content], dim=1)

    def loss(self, users: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """BPR and the squares of the batch's vectors."""
        u, i = self.vectors()
        batch = picked(u, users), picked(i, positive), picked(i, negative)
        return bpr(*batch) + self.reg * sum(x.square().sum() for x in batch) / len(users)


class BM3(LightGCN):
    """Bootstrap of propagated ids and projected features, without negatives."""

    layers, dropout, reg, weight = 1, 0.3, 0.1, 2.0

    def __init__(self, log: Log, features: dict[str, Tensor]) -> None:
        super().__init__(log, features)
        self.raw = nn.ParameterDict({m: nn.Parameter(x.clone()) for m, x in features.items()})
        self.project = nn.ModuleDict({m: nn.Linear(x.shape[1], WIDTH) for m, x in features.items()})
        self.predict = nn.Linear(WIDTH, WIDTH)

    def online(self) -> tuple[Tensor, Tensor]:
        """Propagated vectors, those of items with their ids once more."""
        u, i = self.propagate(self.full)
        return u, i + self.item.weight

    def vectors(self) -> tuple[Tensor, Tensor]:
        """Final vectors of all users and items."""
        u, i = self.online()
        return self.predict(u), self.predict(i)

    def loss(self, users: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Each view predicts the other one's dropped out target."""
        u, i = self.online()
        # Of the batch's rows alone: dropout of all makes this slower than the public code was.
        target_u = F.dropout(u.detach()[users], self.dropout)
        target_i = F.dropout(i.detach()[positive], self.dropout)
        p_u, p_i = picked(self.predict(u), users), picked(self.predict(i), positive)
        total = away(p_u, target_i) + away(p_i, target_u)
        for m, project in self.project.items():
            content = project(self.raw[m])
            target = F.dropout(content.detach()[positive], self.dropout)
            seen = picked(self.predict(content), positive)
            total = total + self.weight * (away(seen, target_i) + away(seen, target))
        squares = (u.square().sum() + i.square().sum()) / len(users)
        return total + self.reg * squares / len(u)


def away(x: Tensor, target: Tensor) -> Tensor:
    """The mean of 1 - cos."""
    return 1 - F.cosine_similarity(x, target.detach(), dim=-1).mean()


class FREEDOM(LightGCN):
    """A frozen graph of items, a pruned one of users and items, and BPR of each modality."""

    share, k, blend, reg = 0.2, 10, 0.1, 1e-3

    def __init__(self, log: Log, features: dict[str, Tensor]) -> None:
        super().__init__(log, features)
        self.raw = nn.ParameterDict({m: nn.Parameter(x.clone()) for m, x in features.items()})
        self.project = nn.ModuleDict({m: nn.Linear(x.shape[1], WIDTH) for m, x in features.items()})
        a, b = features.values()
        self.alike = self.blend * self.nearest(a) + (1 - self.blend) * self.nearest(b)
        degree = [torch.bincount(x).float() for x in (self.rows, self.columns)]
        self.chance = (degree[0][self.rows] * degree[1][self.columns]).rsqrt()
        self.pruned = self.full

    def nearest(self, x: Tensor) -> Tensor:
        """The graph of each item's k nearest."""
        unit = F.normalize(x, dim=1)
        columns = (unit @ unit.T).topk(self.k).indices
        rows = torch.arange(len(x)).unsqueeze(1).expand_as(columns)
        return normalised(rows.flatten(), columns.flatten(), len(x))

    def start_epoch(self) -> None:
        """Draws the edges of the epoch."""
        kept = torch.multinomial(self.chance, int(self.share * len(self.chance)))
        self.pruned = self.graph(self.rows[kept], self.columns[kept])

    def with_alike(self, graph: Tensor) -> tuple[Tensor, Tensor]:
        """Propagation on both graphs."""
        u, i = self.propagate(graph)
        return u, i + torch.sparse.mm(self.alike, self.item.weight)

    def vectors(self) -> tuple[Tensor, Tensor]:
        """Final vectors of all users and items."""
        return self.with_alike(self.full)

    def loss(self, users: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """BPR of the final vectors, and of users with each modality's projection."""
        u, i = self.with_alike(self.pruned)
        of_u = picked(u, users)
        total = bpr(of_u, picked(i, positive), picked(i, negative))
        for m, project in self.project.items():
            content = project(self.raw[m])
            alike = bpr(of_u, picked(content, positive), picked(content, negative))
            total = total + self.reg * alike
        return total


LITERAL: dict[str, type[LightGCN] | type[VBPR]] = {
    "lightgcn": LightGCN,
    "vbpr": VBPR,
    "bm3": BM3,
    "freedom": FREEDOM,
}


def train(model: LightGCN | VBPR, log: Log, optimizer: torch.optim.Optimizer) -> float:
    """One epoch.

    Returns:
        the sum of the losses.
    """
    model.train()
    model.start_epoch()
    total = 0.0
    for batch in log.batches():
        optimizer.zero_grad()
        loss = model.loss(*batch)
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total


@torch.no_grad()
def evaluate(model: LightGCN | VBPR, log: Log) -> dict[str, float]:
    """Recall, NDCG, precision and MAP of all test users."""
    model.eval()
    users, lists = sorted(log.wanted), []
    for start in range(0, len(users), RANKED):
        some = users[start : start + RANKED]
        u, i = model.vectors()
        scores = u[some] @ i.T
        known = [(row, item) for row, user in enumerate(some) for item in log.known[user]]
        rows, items = torch.tensor(known).T
        scores[rows, items] = -1e10
        lists += scores.topk(max(TOP)).indices.tolist()
    hits = np.array(
        [[i in log.wanted[u] for i in top] for u, top in zip(users, lists, strict=True)], float
    )
    sizes = np.array([len(log.wanted[u]) for u in users])
    return {f"{n}_at_{k}": v for k in TOP for n, v in metrics(hits[:, :k], sizes, k).items()}


def metrics(hits: np.ndarray, sizes: np.ndarray, k: int) -> dict[str, float]:
    """Means of what hits ``(n, k)`` are worth."""
    gain = 1 / np.log2(np.arange(k) + 2)
    best = gain.cumsum()[np.minimum(sizes, k) - 1]
    precision = hits.cumsum(1) / np.arange(1, k + 1)
    return {
        "recall": float((hits.sum(1) / sizes).mean()),
        "ndcg": float(((hits * gain).sum(1) / best).mean()),
        "precision": float((hits.sum(1) / k).mean()),
        "map": float(((precision * hits).sum(1) / np.minimum(sizes, k)).mean()),
    }


def features_of(name: str, log: Log) -> dict[str, Tensor]:
    """The features of a set's items; random ones of the published widths where it has none."""
    folder = Path(os.environ["MMFUSE_DATA"]) / name
    files = {m: folder / f"{m}.npy" for m in ("image", "audio")}
    if all(f.exists() for f in files.values()):
        return {m: torch.from_numpy(np.load(f)).float() for m, f in files.items()}
    draw = torch.Generator().manual_seed(0)
    widths = {"image": 4096, "text": 384}
    return {m: torch.randn(log.items, w, generator=draw) for m, w in widths.items()}


def main() -> None:
    """Prints seconds of an epoch and of a test evaluation of each model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="tiktok")
    parser.add_argument("--models", nargs="+", choices=LITERAL, default=list(LITERAL))
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    log = Log.named(options.data)
    features = features_of(options.data, log)
    for name in options.models:
        torch.manual_seed(0)
        random.seed(0)
        model = LITERAL[name](log, features)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        times = []
        for _ in range(options.epochs):
            start = time.perf_counter()
            train(model, log, optimizer)
            times.append(time.perf_counter() - start)
        start = time.perf_counter()
        found = evaluate(model, log)
        took = time.perf_counter() - start
        print(
            f"{options.data} {name}: an epoch {min(times):.2f} s (lowest of {len(times)}), an "
            f"evaluation {took:.2f} s, recall_at_20 {found['recall_at_20']:.4f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
