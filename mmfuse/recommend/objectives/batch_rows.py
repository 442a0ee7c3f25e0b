"""Rows of a batch: each user, and each item that was observed, once."""

from __future__ import annotations

import torch
from torch import Tensor

from mmfuse.recommend.batch import RankingBatch


def distinct_users(batch: RankingBatch) -> Tensor:
    """``(n,)`` long, a row of the batch for each of its users."""
    return _one_each(batch.users)


def distinct_items(batch: RankingBatch) -> Tensor:
    """``(n,)`` long, a row of the batch for each item that was observed in it."""
    return _one_each(batch.items)


def _one_each(codes: Tensor) -> Tensor:
    """The first place of each code, in ascending order of the codes."""
    found, inverse = torch.unique(codes, return_inverse=True)
    places = torch.arange(len(codes), device=codes.device)
    first = places.new_full((len(found),), len(codes))
    return first.scatter_reduce(0, inverse, places, "amin")
