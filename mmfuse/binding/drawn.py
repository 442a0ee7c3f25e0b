"""Drawn: some pseudo-paired tuples, with what every space says of each member."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mmfuse.unit import unit


@dataclass(frozen=True)
class Drawn:
    """Some tuples: for each modality what every space says of the member.

    Args:
        vectors: for each modality and space ``(B, width)``, zero where absent.
        present: for each modality and space ``(B,)`` bool.
        rows: for each modality ``(B,)``, the member's row in its bank; -1 where there is none.
        meaning: ``(B,)`` long; tuples of one number mean the same, so that each finds the members
            of all of them; a negative number is a meaning of its own.
    """

    vectors: Mapping[str, Mapping[str, Tensor]]
    present: Mapping[str, Mapping[str, Tensor]]
    rows: Mapping[str, Tensor]
    meaning: Tensor

    def __len__(self) -> int:
        return len(self.meaning)

    def noisy(self, length: float, generator: torch.Generator) -> Drawn:
        """The same with a random vector of this expected length added to each, then unit length."""
        if not length:
            return self
        vectors = {
            m: {
                s: unit(
                    x + torch.randn(x.shape, generator=generator) * (length / x.shape[1] ** 0.5)
                ).masked_fill(~self.present[m][s].unsqueeze(1), 0)
                for s, x in spaces.items()
            }
            for m, spaces in self.vectors.items()
        }
        return Drawn(vectors, self.present, self.rows, self.meaning)
