"""Who is nearest to whom among the items of two banks, through the spaces that both are in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from mmfuse.binding.banks import Bank
from mmfuse.errors import ConfigError

Backend = Literal["exact", "faiss-ivf"]

#: A block of similarities.
_ROWS, _COLUMNS = 2048, 8192
#: An index of clusters searches this share of them, and is built on this many vectors a cluster.
_SEARCHED, _SHOWN = 16, 40


def neighbours(
    one: Bank,
    mine: Tensor,
    other: Bank,
    theirs: Tensor,
    spaces: Sequence[str],
    k: int = 1,
    backend: Backend = "exact",
    both: bool = True,
) -> tuple[Tensor, Tensor]:
    """Who is nearest to whom among rows of two banks, by the mean cosine over common spaces.

    The exact search reads both directions from one product, a block at a time.

    Args:
        one: a bank.
        mine: ``(n,)``, the rows of it that ask and may be found.
        other: another bank.
        theirs: ``(m,)``, likewise.
        spaces: those to compare in.
        k: how many neighbours a row.
        backend: ``exact``; or ``faiss-ivf``, which looks at the nearest sixteenth of the
            clusters and may miss some.
        both: whether the other bank's rows ask too; if not, they find nothing.

    Returns:
        ``(n, k)`` rows of the other bank, and ``(m, k)`` rows of the one; the nearest first, -1
        where there is none.

    Raises:
        ConfigError: faiss is not installed, or is asked for more than one space at a time.
    """
    here, there = (
        torch.stack([bank.present[s][rows] for s in spaces]).any(dim=0)
        for bank, rows in ((one, mine), (other, theirs))
    )
    forth, back = (torch.full((len(rows), k), -1) for rows in (mine, theirs))
    if here.any() and there.any():
        search = _exact if backend == "exact" else _clusters
        found = search(one, mine[here], other, theirs[there], spaces, k, both)
        for all_rows, asked, near in ((forth, here, found[0]), (back, there, found[1])):
            all_rows[asked, : near.shape[1]] = near
    return forth, back


class _Best:
    """The k nearest so far to each of some rows."""

    def __init__(self, rows: int, k: int) -> None:
        self.scores = torch.full((rows, k), -torch.inf)
        self.rows = torch.full((rows, k), -1)

    def update(self, place: slice, near: Tensor, names: Tensor) -> None:
        """Takes a block into account: ``near`` (rows, n) to those called ``names`` (n,)."""
        k = self.scores.shape[1]
        top = near.topk(min(k, near.shape[1]), dim=1)
        scores = torch.cat([self.scores[place], top.values], dim=1)
        rows = torch.cat([self.rows[place], names[top.indices]], dim=1)
        self.scores[place], order = scores.topk(k, dim=1)
        self.rows[place] = rows.gather(1, order).masked_fill(self.scores[place] == -torch.inf, -1)


def _exact(
    one: Bank,
    mine: Tensor,
    other: Bank,
    theirs: Tensor,
    spaces: Sequence[str],
    k: int,
    both: bool,
) -> tuple[Tensor, Tensor]:
    forth, back = _Best(len(mine), k), _Best(len(theirs), k)
    for i in range(0, len(mine), _ROWS):
        some = slice(i, i + _ROWS)
        for j in range(0, len(theirs), _COLUMNS):
            those = slice(j, j + _COLUMNS)
            near = _similarity(one, mine[some], other, theirs[those], spaces)
            forth.update(some, near, theirs[those])
            if both:
                back.update(those, near.T, mine[some])
    return forth.rows, back.rows


def _similarity(
    queries: Bank, rows: Tensor, bank: Bank, those: Tensor, spaces: Sequence[str]
) -> Tensor:
    """Mean cosine over the common spaces, minus infinity where there is none."""
    if len(spaces) == 1:  # everyone left in the search has it
        (s,) = spaces
        return queries.vectors[s][rows] @ bank.vectors[s][those].T
    total = torch.zeros(len(rows), len(those))
    count = torch.zeros(len(rows), len(those))
    for s in spaces:
        total.addmm_(queries.vectors[s][rows], bank.vectors[s][those].T)  # zero where absent
        here, there = queries.present[s][rows].float(), bank.present[s][those].float()
        count.addr_(here, there)
    return total.div_(count).masked_fill_(count == 0, -torch.inf)


def _clusters(
    one: Bank,
    mine: Tensor,
    other: Bank,
    theirs: Tensor,
    spaces: Sequence[str],
    k: int,
    both: bool,
) -> tuple[Tensor, Tensor]:
    if len(spaces) > 1:
        raise ConfigError(
            f"faiss compares in one space at a time; {', '.join(spaces)} share these modalities. "
            "Choose one with through, or search with the exact backend."
        )
    (s,) = spaces
    a, b = one.vectors[s][mine], other.vectors[s][theirs]
    back = _among(b, a, mine, k) if both else torch.full((len(theirs), k), -1)
    return _among(a, b, theirs, k), back


def _among(queries: Tensor, values: Tensor, names: Tensor, k: int) -> Tensor:
    from mmfuse.features.faiss_index import load_faiss  # which needs it installed

    faiss, width = load_faiss(), values.shape[1]
    lists = max(1, min(int(4 * len(values) ** 0.5), len(values) // _SHOWN))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, lists, faiss.METRIC_INNER_PRODUCT)
    index.nprobe = max(8, lists // _SEARCHED)
    index.cp.max_points_per_centroid = _SHOWN
    index.train(values.numpy())
    index.add(values.numpy())
    found = [
        torch.from_numpy(index.search(some.numpy(), min(k, len(values)))[1])
        for some in queries.split(_ROWS)
    ]
    places = torch.cat(found)
    return torch.where(places >= 0, names[places.clamp(min=0)], -1)
