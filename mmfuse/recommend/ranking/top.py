"""Top items: the best k of all items for each user, exactly, without the matrix of all scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mmfuse.errors import ConfigError, DataError
from mmfuse.recommend.lists import ItemLists

#: Scores of users (n, D) and items (m, D): (n, m), the higher the better.
Scoring = Callable[[Tensor, Tensor], Tensor]

#: Scores that are held at a time, and how many users they are of at most.
BLOCK, _USERS = 2**21, 256
#: Items that are first looked at together, as many as suit the block and k.
_GROUPS = (256, 128, 64, 32)


@dataclass(frozen=True)
class TopItems:
    """The best items of each user, the best first; of equal scores the lower code.

    Args:
        items: ``(n, k)`` long codes; -1 where a user has fewer than k candidates.
        scores: ``(n, k)``; minus infinity there.
    """

    items: Tensor
    scores: Tensor

    def first(self, k: int) -> TopItems:
        """The first k of them."""
        return TopItems(self.items[:, :k], self.scores[:, :k])


def dot(users: Tensor, items: Tensor) -> Tensor:
    """The dot product of every user (n, D) and item (m, D): (n, m)."""
    return users @ items.T


@torch.no_grad()
def top_items(
    users: Tensor,
    items: Tensor,
    score: Scoring,
    k: int,
    seen: ItemLists | None = None,
    codes: Tensor | None = None,
    allowed: Tensor | None = None,
    block: int = BLOCK,
) -> TopItems:
    """The k best items of each user among all that the user has not seen.

    Exact, a block of users and items at a time: memory holds one block of scores, whatever the
    number of users and items. Items come in ascending codes, so that one which only equals a
    user's k-th best so far is left out: ties go to the lower code. An item whose score is minus
    infinity is no candidate.

    Args:
        users: ``(n, D)`` vectors.
        items: ``(I, D)`` vectors, those of every item.
        score: gives ``(n', m)`` for some of the users and some of the items; it counts in
            float64 where the vectors are, else in float32.
        k: how many; more than there are items is allowed.
        seen: each user's items to leave out, such as those of training; None for none.
        codes: ``(n,)`` long, which list of ``seen`` is each user's; by default the first n.
        allowed: ``(I,)`` bool, the items that may be recommended at all; None for every one.
        block: scores that are held at a time.

    Raises:
        ConfigError: k or the block is below 1.
        DataError: ``seen`` has another number of items, or fewer lists than users; or scores of
            another shape, or NaN.

    Example:
        >>> users, items = torch.eye(2), torch.tensor([[3.0, 0.0], [2.0, 1.0], [2.0, 5.0]])
        >>> seen = ItemLists.of(torch.tensor([1]), torch.tensor([2]), 2, 3)
        >>> top_items(users, items, dot, k=3, seen=seen).items
        tensor([[ 0,  1,  2],
                [ 1,  0, -1]])
    """
    _check(users, items, k, seen, codes, allowed, block)
    codes = torch.arange(len(users), device=users.device) if codes is None else codes
    candidates = None if allowed is None else allowed.nonzero().squeeze(1)
    if candidates is not None:
        items = items[candidates]
    dtype = torch.float64 if users.dtype == torch.float64 else torch.float32
    best = torch.full((len(users), k), -torch.inf, dtype=dtype, device=users.device)
    found = torch.full((len(users), k), -1, dtype=torch.long, device=users.device)
    rows = max(1, min(_USERS, block // _GROUPS[0]))
    width = max(_GROUPS[0], block // min(rows, max(1, len(users))) // _GROUPS[0] * _GROUPS[0])
    for start in range(0, len(users), rows):
        some = slice(start, start + rows)
        masked = _masked(seen, codes[some], candidates)
        for first in range(0, len(items), width):
            part = items[first : first + width]
            size = next((g for g in _GROUPS if len(part) >= 4 * k * g), _GROUPS[-1])
            scores = score(users[some], part).to(dtype)
            if scores.shape != (len(codes[some]), len(part)):
                raise DataError(
                    f"The score gave {tuple(scores.shape)} for {len(codes[some])} users and "
                    f"{len(part)} items; expected a row a user and a column an item."
                )
            groups = _ready(scores, masked, first, size)
            _take(best[some], found[some], groups, first)
    if candidates is not None and len(candidates):
        found = torch.where(found < 0, found, candidates[found.clamp(min=0)])
    return TopItems(found, best)


def _check(
    users: Tensor,
    items: Tensor,
    k: int,
    seen: ItemLists | None,
    codes: Tensor | None,
    allowed: Tensor | None,
    block: int,
) -> None:
    for name, value in (("k", k), ("block", block)):
        if value < 1:
            raise ConfigError(f"{name} is {value}; expected 1 up.")
    if seen is not None and seen.count != len(items):
        raise DataError(
            f"The seen lists are of {seen.count} items; there are {len(items)} vectors."
        )
    if seen is not None and codes is None and len(seen) < len(users):
        raise DataError(f"There are {len(seen)} seen lists for {len(users)} users.")
    if codes is not None and codes.shape != users.shape[:1]:
        raise DataError(f"codes has shape {tuple(codes.shape)}; there are {len(users)} users.")
    if allowed is not None and allowed.shape != items.shape[:1]:
        raise DataError(f"allowed has shape {tuple(allowed.shape)}; there are {len(items)} items.")


def _masked(
    seen: ItemLists | None, codes: Tensor, candidates: Tensor | None
) -> tuple[Tensor, Tensor] | None:
    """Row and place of every score to leave out, ascending by place."""
    if seen is None:
        return None
    row, item = seen.rows(codes)
    if candidates is not None:
        places = torch.full((seen.count,), -1, device=item.device)
        places[candidates] = torch.arange(len(candidates), device=item.device)
        item = places[item]
        row, item = row[item >= 0], item[item >= 0]
    item, order = item.sort()
    return row[order], item


def _ready(scores: Tensor, masked: tuple[Tensor, Tensor] | None, first: int, size: int) -> Tensor:
    """Scores in whole groups, (n, groups, size), with minus infinity for what is left out."""
    more = -scores.shape[1] % size
    low = high = 0
    if masked is not None:
        row, place = masked
        ends = torch.tensor([first, first + scores.shape[1]], device=place.device)
        low, high = torch.searchsorted(place, ends).tolist()
    if more:
        scores = F.pad(scores, (0, more), value=-torch.inf)
    elif low < high:
        scores = scores.clone()  # what a score gives may be a view of what it keeps
    if low < high:
        scores[row[low:high], place[low:high] - first] = -torch.inf
    return scores.unflatten(1, (-1, size))


def _take(best: Tensor, found: Tensor, groups: Tensor, first: int) -> None:
    """Merges the scores of items from ``first`` up, in groups, into the best so far.

    Most items are far from the best k, so that the highest score of each group of neighbours is
    looked at first. The k-th highest of these is a score that k items reach; only groups that
    reach it, and beat the user's k-th best so far, are looked into.
    """
    k = best.shape[1]
    highest = groups.amax(dim=2)
    if highest.isnan().any():
        raise DataError("A score is NaN, which has no rank. Look at the vectors and the score.")
    least = torch.nextafter(best[:, -1:], best.new_tensor(torch.inf))
    if highest.shape[1] >= k:
        least = torch.maximum(least, highest.topk(k, dim=1).values[:, -1:])
    row, group = (highest >= least).nonzero(as_tuple=True)
    inside = groups[row, group]
    of, within = (inside >= least[row]).nonzero(as_tuple=True)
    if not len(of):
        return
    values, row = inside[of, within], row[of]
    item = group[of] * groups.shape[2] + within + first
    rows, counts = row.unique_consecutive(return_counts=True)
    starts = counts.cumsum(0) - counts
    line = torch.repeat_interleave(torch.arange(len(rows), device=row.device), counts)
    column = torch.arange(len(row), device=row.device) - starts[line] + k
    wide = best.new_full((len(rows), k + int(counts.max())), -torch.inf)
    who = found.new_full(wide.shape, -1)
    wide[:, :k], who[:, :k] = best[rows], found[rows]
    wide[line, column], who[line, column] = values, item
    # Stable: earlier columns hold lower codes.
    wide, order = wide.sort(dim=1, descending=True, stable=True)
    best[rows], found[rows] = wide[:, :k], who.gather(1, order[:, :k])
