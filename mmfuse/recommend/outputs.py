"""RankingOutput and Represented: what a recommender says of a batch, and of all."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mmfuse.recommend.content import ItemContent


@dataclass(frozen=True, slots=True)
class RankingOutput:
    """What a model says of a training batch.

    Args:
        users: ``(B, D)`` final vectors.
        items: ``(B, 1 + N, D)`` final vectors, the observed item first.
        start_users: ``(B, D)`` the vectors before any graph, which are what is regularised.
        start_items: ``(B, 1 + N, D)`` likewise.
        content: the batch's distinct items through their modalities; None where they have none.
        places: ``(B, 1 + N)`` long, each item's row in ``content``; ``(B, 1)`` where no objective
            looks at the modalities of drawn items; None likewise.
    """

    users: Tensor
    items: Tensor
    start_users: Tensor
    start_items: Tensor
    content: ItemContent | None
    places: Tensor | None


@dataclass(frozen=True, slots=True)
class Represented:
    """The final vectors of all.

    Args:
        users: ``(U, D)``.
        items: ``(I, D)``.
    """

    users: Tensor
    items: Tensor
