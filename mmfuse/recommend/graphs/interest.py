"""What users are interested in, by the features of what they took."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mmfuse.recommend.graphs.sparse import SparseMatrix
from mmfuse.recommend.lists import ItemLists


def interests(
    train: ItemLists, features: Mapping[str, Tensor], present: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """For each modality the mean features of a user's items that have it.

    Args:
        train: each user's items.
        features: for each modality ``(I, w_m)``.
        present: for each modality ``(I,)`` bool.

    Returns:
        the means ``(U, w_m)``, zero where there is no such item; and ``(U,)`` bool, whether there
        is one.
    """
    means, has = {}, {}
    users, items = train.pairs()
    for m, rows in features.items():
        here = present[m][items]
        counts = torch.bincount(users[here], minlength=len(train))
        share = 1 / counts[users[here]].float()
        matrix = SparseMatrix.of(users[here], items[here], share, (len(train), train.count))
        # What stands in an absent row may be no number; it has no entry, so it is never read.
        means[m], has[m] = matrix(rows.float()), counts > 0
    return means, has
