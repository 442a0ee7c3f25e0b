"""Rows of a batch: each user, and each item that was observed, once."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mmfuse.recommend.batch import RankingBatch


def distinct_users(batch: RankingBatch) -> Tensor:
    """``(n,)`` long, a row of the batch for each of its users, in ascending order of codes.

    Of a user's rows it is the last, at which a model of sequences has seen most of what it took.
    """
    return _one_each(batch.users, "amax")


def distinct_items(batch: RankingBatch) -> Tensor:
    """``(n,)`` long, a row of the batch for each item that was observed in it, likewise."""
    return _one_each(batch.items, "amin")


def _one_each(codes: Tensor, which: Literal["amin", "amax"]) -> Tensor:
    """The first or the last place of each code."""
    found, inverse = torch.unique(codes, return_inverse=True)
    places = torch.arange(len(codes), device=codes.device)
    empty = places.new_empty(len(found))
    return empty.scatter_reduce(0, inverse, places, which, include_self=False)
