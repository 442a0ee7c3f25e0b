"""Slices: kinds of items and of users for which a ranking is measured apart."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmfuse.errors import ConfigError, DataError
from mmfuse.recommend.lists import ItemLists
from mmfuse.recommend.ranking.exposure import popularity_of


def restricted(lists: ItemLists, items: Tensor) -> ItemLists:
    """The lists with some items alone.

    Args:
        lists: such as what is relevant.
        items: ``(I,)`` bool, those to keep.

    Raises:
        DataError: there are other items.
    """
    if items.shape != (lists.count,):
        raise DataError(
            f"A slice of items has shape {tuple(items.shape)}; there are {lists.count} items."
        )
    keep = items[lists.items]
    before = torch.cat([keep.new_zeros(1, dtype=torch.long), keep.cumsum(0)])
    return ItemLists(before[lists.offsets], lists.items[keep], lists.count)


def item_slices(
    train: ItemLists,
    present: Tensor | None = None,
    modalities: Sequence[str] = (),
    bins: int = 3,
) -> dict[str, Tensor]:
    """Kinds of items, by name; those that no item belongs to are left out.

    ``cold`` has no training interaction; ``popularity_1`` to ``popularity_<bins>`` are the others
    from the least popular up, each with about the same number of interactions, so that the last
    holds few items; ``lacks_<modality>`` have no such modality.

    Args:
        train: what each user took.
        present: ``(I, M)`` bool, which modalities the items have.
        modalities: their names, in the order of the columns.
        bins: how many kinds of popularity.

    Returns:
        ``(I,)`` bool each.

    Raises:
        ConfigError: fewer than one bin.
        DataError: another number of items or modalities in ``present``.
    """
    count = popularity_of(train)
    found = {"cold": count == 0, **_bins("popularity", count, count, bins)}
    if present is not None:
        if present.shape != (train.count, len(modalities)):
            raise DataError(
                f"present has shape {tuple(present.shape)}; expected a row for each of "
                f"{train.count} items and a column for each of {list(modalities)}."
            )
        found |= {f"lacks_{m}": ~present[:, i] for i, m in enumerate(modalities)}
    return {name: which for name, which in found.items() if which.any()}


def user_slices(train: ItemLists, bins: int = 3) -> dict[str, Tensor]:
    """Kinds of users by how much they took, by name; those that no user belongs to are left out.

    ``new`` took nothing in training; ``activity_1`` to ``activity_<bins>`` are about as many users
    each, from the least active up.

    Args:
        train: what each user took.
        bins: how many kinds of activity.

    Returns:
        ``(U,)`` bool each.

    Raises:
        ConfigError: fewer than one bin.
    """
    sizes = train.sizes()
    found = {"new": sizes == 0, **_bins("activity", sizes, (sizes > 0).long(), bins)}
    return {name: which for name, which in found.items() if which.any()}


def _bins(name: str, values: Tensor, weights: Tensor, bins: int) -> dict[str, Tensor]:
    """Those with a value above 0, by value, in bins of about the same weight; equals together."""
    if bins < 1:
        raise ConfigError(f"bins is {bins}; expected 1 up.")
    levels, place = values.unique(return_inverse=True)
    weight = torch.zeros(len(levels), dtype=torch.float64, device=values.device)
    weight.index_add_(0, place, weights.double())
    # A level goes where its middle falls.
    middle = weight.cumsum(0) - weight / 2
    where = (middle / weight.sum().clamp(min=1) * bins).long().clamp(max=bins - 1)[place]
    return {f"{name}_{b + 1}": (where == b) & (values > 0) for b in range(bins)}
