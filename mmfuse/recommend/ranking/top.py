"""Top items: the best k of all items for each user, exactly, without the matrix of all scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mmfuse.errors import ConfigError, DataError
from mmfuse.recommend.lists import ItemLists
from mmfuse.recommend.ranking.selection import best_first, kth_highest, reaching

#: Scores of users (n, D) and items (m, D): (n, m), the higher the better.
Scoring = Callable[[Tensor, Tensor], Tensor]

#: Scores that are held at a time, and how many users they are of at most.
BLOCK, _USERS = 2**21, 128
#: Items that are scored together at least, and groups that they make for each of the k places.
_LEAST, _GROUPS = 256, 8


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
    rows = max(1, min(_USERS, block // _LEAST))
    width = max(_LEAST, block // min(rows, max(1, len(users))))
    for start in range(0, len(users), rows):
        some = slice(start, start + rows)
        masked = _masked(seen, codes[some], candidates)
        for first in range(0, len(items), width):
            part = items[first : first + width]
            # Scores have no name here: each block's memory is free before the next one's is taken.
            _merge(best[some], found[some], score(users[some], part), masked, first, len(part))
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
    """Row and place of every score to leave out."""
    if seen is None:
        return None
    row, item = seen.rows(codes)
    if candidates is not None:
        places = torch.full((seen.count,), -1, device=item.device)
        places[candidates] = torch.arange(len(candidates), device=item.device)
        item = places[item]
        row, item = row[item >= 0], item[item >= 0]
    return row, item


def _merge(
    best: Tensor,
    found: Tensor,
    scores: Tensor,
    masked: tuple[Tensor, Tensor] | None,
    first: int,
    count: int,
) -> None:
    """Merges the scores of ``count`` items from ``first`` up into the best so far."""
    if scores.shape != (len(best), count):
        raise DataError(
            f"The score gave {tuple(scores.shape)} for {len(best)} users and {count} items; "
            "expected a row a user and a column an item."
        )
    scores = scores.detach().to(best.dtype).contiguous()
    if masked is None:
        _take(best, found, scores, first)
        return
    row, place = masked[0], masked[1] - first
    here = (place >= 0) & (place < count)
    row, place = row[here], place[here]
    kept = scores[row, place]
    scores[row, place] = -torch.inf
    _take(best, found, scores, first)
    scores[row, place] = kept  # what a score gives may be a view of what it keeps


def _take(best: Tensor, found: Tensor, scores: Tensor, first: int) -> None:
    """Merges the scores of items from ``first`` up, none of which is to be left out.

    Most items are far from the best k. The k-th highest of the highest scores of disjoint groups
    is a score that k items reach; only items that reach it, and beat the user's k-th best so far,
    are sorted.
    """
    k = best.shape[1]
    size = max(1, scores.shape[1] // (_GROUPS * k))
    whole = scores.shape[1] // size * size
    highest = scores[:, :whole].unflatten(1, (size, -1)).amax(dim=1)
    if highest.isnan().any() or scores[:, whole:].isnan().any():
        raise DataError("A score is NaN, which has no rank. Look at the vectors and the score.")
    least = torch.nextafter(best[:, -1:], best.new_tensor(torch.inf))
    if highest.shape[1] >= k:
        least = torch.maximum(least, kth_highest(highest, k))
    places = reaching(scores, least)
    if not len(places):
        return
    line = torch.arange(len(scores) + 1, device=scores.device) * scores.shape[1]
    counts = torch.searchsorted(places, line).diff()
    rows = counts.nonzero().squeeze(1)
    counts = counts[rows].unsqueeze(1)
    widest = int(counts.max()) if first else max(k, int(counts.max()))
    there = torch.arange(widest, device=rows.device) < counts
    values = best.new_full(there.shape, -torch.inf)
    values.masked_scatter_(there, scores.flatten().index_select(0, places))
    items = found.new_zeros(there.shape).masked_scatter_(there, places)
    items -= (line[rows] - first).unsqueeze(1)
    if first:  # earlier columns hold lower codes
        values = torch.cat([best[rows], values], dim=1)
        items = torch.cat([found[rows], items], dim=1)
    values, items = best_first(values, items, k)
    best[rows], found[rows] = values, items.masked_fill_(values == -torch.inf, -1)
