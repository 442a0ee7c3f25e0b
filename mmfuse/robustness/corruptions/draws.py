"""Draws: random numbers of some rows, the same whatever the batch, its order or the worker."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from mmfuse.missing.hashing import key, uniforms


@dataclass(frozen=True)
class Draws:
    """Random numbers that the seed, the row, the modality and the purpose alone decide.

    The severity has no part in it: what a low severity takes a higher one takes too, so that
    severities can be compared row by row.

    Args:
        rows: ``(B,)`` long, the rows' numbers in the data set.
        seed: any whole number.
        modality: whose values are drawn for.
        purpose: a word for what is drawn, such as the corruption's name.

    Example:
        >>> both, second = Draws(torch.tensor([3, 8])), Draws(torch.tensor([8]))
        >>> bool((both.uniform(4)[1] == second.uniform(4)[0]).all())
        True
    """

    rows: Tensor
    seed: int = 0
    modality: str = ""
    purpose: str = ""

    def meant_for(self, purpose: str) -> Draws:
        """The same rows' numbers for another purpose."""
        return replace(self, purpose=purpose)

    def uniform(self, count: int, use: str = "") -> Tensor:
        """``(B, count)`` float64 in [0, 1); the first few do not depend on ``count``."""
        words = ("corruption", self.modality, self.purpose, use)
        return uniforms(self.seed, self.rows, count, *words)

    def normal(self, count: int, use: str = "") -> Tensor:
        """``(B, count)`` float64, standard normal."""
        # Half a step of the grid that uniform numbers lie on keeps the quantile of 0 finite.
        return torch.special.ndtri(self.uniform(count, use) + 2.0**-54)

    def generator(self, place: int, use: int | str = "") -> np.random.Generator:
        """A generator for the row at ``place``, for values whose size only it knows."""
        words = ("corruption", self.modality, self.purpose, use, int(self.rows[place]))
        return np.random.Generator(np.random.Philox(key=key(self.seed, *words) % 2**64))
