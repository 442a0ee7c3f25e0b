"""Cores: users and items with enough interactions among each other."""

from __future__ import annotations

import torch
from torch import Tensor


def core(users: Tensor, items: Tensor, user_core: int = 1, item_core: int = 1) -> Tensor:
    """Which pairs stay when rare users and items leave until none is left.

    The largest set of pairs in which each user has ``user_core`` items and each item
    ``item_core`` users; the order of leaving does not change it.

    Args:
        users: ``(E,)`` long codes.
        items: ``(E,)`` long codes; no pair occurs twice.
        user_core: least number of items of a user.
        item_core: least number of users of an item.

    Returns:
        ``(E,)`` bool

    Example:
        >>> core(torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 1, 0]), user_core=2).tolist()
        [True, True, False, False]
    """
    kept = torch.arange(len(users))
    while True:
        by_user, by_item = users[kept], items[kept]
        stays = torch.bincount(by_user)[by_user] >= user_core
        stays &= torch.bincount(by_item)[by_item] >= item_core
        if stays.all():
            found = torch.zeros(len(users), dtype=torch.bool)
            found[kept] = True
            return found
        kept = kept[stays]
