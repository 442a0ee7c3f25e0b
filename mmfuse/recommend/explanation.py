"""Explanation: the share that each part of an item's vector has in the score of a pair."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Protocol

import torch
from torch import Tensor

from mmfuse.errors import ConfigError, DataError

#: The part that is left when every modality is absent: the id, and what was learned for nobody.
BASE = "base"
#: Every subset of the modalities is encoded once; more take too long.
MOST_MODALITIES = 8


class Contributor(Protocol):
    """Whoever can tell where the score of a pair comes from."""

    def contributions(self, users: Tensor, items: Tensor) -> Mapping[str, Tensor]:
        """For each part its share of the scores; the shares of a pair add up to its score.

        Args:
            users: ``(n,)`` long codes.
            items: ``(n,)`` long codes.

        Returns:
            ``(n,)`` each.
        """
        ...


@dataclass(frozen=True)
class ItemParts:
    """Item vectors as sums of parts, which a dot product shares out among them::

        u · i = sum_p  u · i_p

    Args:
        users: ``(U, D)`` vectors.
        parts: for each part ``(I, D)``.

    Example:
        >>> parts = ItemParts(torch.tensor([[1.0, 2.0]]), {"id": torch.tensor([[3.0, 0.0]]),
        ...                                                "image": torch.tensor([[0.0, 1.0]])})
        >>> zero = torch.tensor([0])
        >>> {part: share.item() for part, share in parts.contributions(zero, zero).items()}
        {'id': 3.0, 'image': 2.0}
    """

    users: Tensor
    parts: Mapping[str, Tensor]

    def contributions(self, users: Tensor, items: Tensor) -> dict[str, Tensor]:
        """As ``Contributor``."""
        who = self.users[users]
        return {name: (who * part[items]).sum(dim=1) for name, part in self.parts.items()}

    def check(self, items: Tensor) -> None:
        """Makes sure that the parts add up to the vectors ``(I, D)``.

        Raises:
            DataError: they do not, or have another shape.
        """
        for name, part in self.parts.items():
            if part.shape != items.shape:
                raise DataError(
                    f"The part {name!r} of the items has shape {tuple(part.shape)}; their vectors "
                    f"have {tuple(items.shape)}."
                )
        total = sum(self.parts.values(), torch.zeros_like(items))
        off = (total - items).abs().max().item() if items.numel() else 0.0
        if not off <= 1e-3 * max(1.0, items.abs().max().item() if items.numel() else 0.0):
            raise DataError(
                f"The parts {list(self.parts)} of the items do not add up to their vectors; they "
                f"are off by up to {off:.3g}. Give parts of the same state of the model."
            )


def shapley_parts(
    encode: Callable[[Tensor], Tensor], present: Tensor, modalities: Sequence[str]
) -> dict[str, Tensor]:
    """What each modality adds to item vectors, on average over the orders in which they can join.

    With v(S) an item's vector when it has the modalities S alone, and M the modalities::

        part_m = sum_{S without m}  |S|! (M - |S| - 1)! / M!  (v(S + m) - v(S))

    and ``base`` is v(empty), so that the parts add up to the vector, and their dot products with
    a user to the score: these are the exact Shapley values of the score. What an item lacks adds
    nothing to it.

    Args:
        encode: from the presence of each modality ``(I, M)`` to the vectors ``(I, D)``; it is
            called 2^M times.
        present: ``(I, M)`` bool, what the items have.
        modalities: their names, in the order of the columns.

    Raises:
        ConfigError: there are more than eight modalities, or one is called ``base``.

    Reference: Shapley, "A value for n-person games", 1953.

    Example:
        >>> both = torch.ones(1, 2, dtype=torch.bool)
        >>> parts = shapley_parts(lambda p: p.float().sum(1, keepdim=True) ** 2, both, ["a", "b"])
        >>> {name: part.item() for name, part in parts.items()}
        {'base': 0.0, 'a': 2.0, 'b': 2.0}
    """
    count = len(modalities)
    if count > MOST_MODALITIES or BASE in modalities:
        raise ConfigError(
            f"Parts of {list(modalities)}: expected up to {MOST_MODALITIES} modalities, none of "
            f"them called {BASE!r}."
        )
    parts: dict[str, Tensor] = {}
    for chosen in product([False, True], repeat=count):
        some = torch.tensor(chosen, dtype=torch.bool, device=present.device)
        vectors = encode(present & some)
        if not any(chosen):
            parts = {BASE: vectors} | {m: torch.zeros_like(vectors) for m in modalities}
        size = sum(chosen)
        for modality, is_in in zip(modalities, chosen, strict=True):
            # |S|! (M - |S| - 1)! / M! of the S without this modality.
            before = size - is_in
            weight = 1 / (count * math.comb(count - 1, before))
            parts[modality].add_(vectors, alpha=weight if is_in else -weight)
    return parts
