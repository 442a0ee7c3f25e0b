"""NegativeSampler: items that a user has not taken, drawn exactly, without a rejected draw."""

from __future__ import annotations

import torch
from torch import Tensor

from mmfuse.errors import DataError
from mmfuse.recommend.interactions import Interactions
from mmfuse.recommend.lists import ItemLists
from mmfuse.store import SPLITS

#: Keys of user and weight fit in 62 bits; the weight alone in what a double draws evenly.
_KEY_BITS, _WEIGHT_BITS = 62, 48


class NegativeSampler:
    """Draws items that a user has not taken, each with probability proportional to a weight.

    Lay the untaken items' whole-numbered weights end to end and draw a place r below their
    sum. With W(i) the weights of all items below item i, and a user's taken items
    ``a_1 < a_2 < ...``, the untaken weight below ``a_j`` is::

        g_j = W(a_j) - sum_{k<j} w(a_k)

    so n, the number of j with ``g_j <= r``, counts the taken items before the drawn one, whose
    place among all weights is ``r + sum_{k<=n} w(a_k)``. One binary search finds n, another
    one the item. Nothing is drawn twice, however much a user has taken.

    Args:
        taken: the items that each user has; none of them is ever drawn for that user.
        weights: ``(I,)`` float from 0 up, or None for the same for all. An item of weight 0 is
            never drawn. They are rounded to one part in 2^30 or finer.

    Raises:
        DataError: weights of another number, negative, or all zero.
    """

    def __init__(self, taken: ItemLists, weights: Tensor | None = None) -> None:
        self.taken = taken
        self.is_uniform = weights is None
        self._weights = _whole_weights(taken, weights)
        self._ends = self._weights.cumsum(0)
        self.total = int(self._ends[-1]) if taken.count else 0
        users, items = taken.pairs()
        own = self._weights[items]
        before = own.cumsum(0) - own
        # Sums over a user's own items, from its first on.
        first = torch.cat([before, own.sum()[None]])[taken.offsets]
        self._own_ends = torch.cat([own.new_zeros(1), own.cumsum(0)])
        self._first = first[:-1]
        #: ``(U,)`` long, the weight that each user leaves to draw from.
        self.left = self.total - first.diff()
        untaken = (self._ends - self._weights)[items] - (before - first[users])
        self._keys = users * (self.total + 1) + untaken

    def draw(self, users: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """Items that these users have not taken; one user's may repeat.

        Args:
            users: ``(B,)`` long, each with something left to draw (``left`` above 0).
            count: number N of draws for each.
            generator: of the draws.

        Returns:
            ``(B, N)`` long
        """
        size = (len(users), count)
        share = torch.rand(size, generator=generator, dtype=torch.float64)
        bound = self.left[users][:, None]
        place = (share * bound).long().minimum(bound - 1)
        owner = users[:, None]
        end = torch.searchsorted(self._keys, owner * (self.total + 1) + place, right=True)
        place = place + self._own_ends[end] - self._first[owner]
        if self.is_uniform:
            return place
        return torch.searchsorted(self._ends, place, right=True)


def _whole_weights(taken: ItemLists, weights: Tensor | None) -> Tensor:
    if weights is None:
        return torch.ones(taken.count, dtype=torch.long)
    if weights.shape != (taken.count,) or not (weights >= 0).all() or not weights.sum() > 0:
        raise DataError(
            f"Weights of negatives have shape {tuple(weights.shape)}, from "
            f"{float(weights.min()) if len(weights) else 0:.3g}; expected one for each of "
            f"{taken.count} items, none below 0 and one above."
        )
    scale = 2 ** min(_WEIGHT_BITS, _KEY_BITS - len(taken).bit_length() - 1)
    share = weights.double() / weights.double().sum()
    whole = (share * scale).floor().long()
    return torch.where(weights > 0, whole.clamp_min(1), 0)


def sampler_of(
    interactions: Interactions, popularity: float = 0.0, leaky: bool = False
) -> NegativeSampler:
    """Draws items that a user has not taken in training.

    Args:
        interactions: who took what.
        popularity: power of an item's number of training users that its chance is proportional
            to; 0 for the same chance for all.
        leaky: leave validation and test pairs out as well, which tells a model what a user
            will take; to measure what that is worth.

    Raises:
        DataError: a user with a training pair has nothing left to draw.
    """
    taken = interactions.lists(*(SPLITS if leaky else ("train",)))
    users, items = interactions.pairs("train")
    weights = None
    if popularity:
        taken_by = torch.bincount(items, minlength=interactions.item_count).double()
        weights = torch.where(taken_by > 0, taken_by**popularity, 0.0)
    sampler = NegativeSampler(taken, weights)
    stuck = torch.unique(users[sampler.left[users] <= 0])
    if len(stuck):
        user = int(stuck[0])
        raise DataError(
            f"{len(stuck)} user(s) have taken every item that could be a negative, such as user "
            f"{interactions.user_ids[user].item()!r} with {int(taken.sizes()[user])} of "
            f"{interactions.item_count} items. Leave such users out of the source, or give it "
            "the items that no one has taken."
        )
    return sampler
