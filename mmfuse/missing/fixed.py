"""Fixed patterns: the same modalities stay in every row."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import torch
from torch import Tensor

from mmfuse.errors import ConfigError
from mmfuse.missing.base import Missingness, RowFacts
from mmfuse.missing.drop import columns


class FixedPattern(Missingness):
    """Only the named modalities stay, in every row.

    A row that has none of them is left with nothing.

    Args:
        present: the modalities that stay; an empty list takes everything away.

    Raises:
        UnknownModalityError: a modality that the data lacks.
    """

    def __init__(self, present: list[str]) -> None:
        self.present = list(present)

    def keep(self, facts: RowFacts, epoch: int = 0) -> Tensor:
        """``(B, M)`` bool, False where the modality is taken away."""
        keep = torch.zeros_like(facts.present)
        keep[:, columns(self.present, facts, "FixedPattern")] = True
        return keep


def subsets(
    modalities: Sequence[str], limit: int = 8, sample: int = 64, seed: int = 0
) -> list[tuple[str, ...]]:
    """Non-empty subsets of the modalities, small ones first, each in the given order.

    Args:
        modalities: their names.
        limit: up to this many modalities all ``2^M - 1`` subsets are given.
        sample: beyond the limit, how many random ones are added to the single modalities,
            the subsets that leave one out, and the full set.
        seed: of the sample.

    Raises:
        ConfigError: no modality, or a name twice.

    Example:
        >>> subsets(["a", "b"])
        [('a',), ('b',), ('a', 'b')]
    """
    count = len(modalities)
    if not count or len(set(modalities)) < count:
        raise ConfigError(f"Subsets need distinct modalities; found {list(modalities)}.")
    if count <= limit:
        sizes = range(1, count + 1)
        return [s for size in sizes for s in itertools.combinations(modalities, size)]
    full = 2**count - 1
    chosen = {full} | {1 << i for i in range(count)} | {full ^ (1 << i) for i in range(count)}
    wanted = min(len(chosen) + sample, full)
    draw = random.Random(seed)
    while len(chosen) < wanted:
        chosen.add(draw.randint(1, full))
    named = [tuple(m for i, m in enumerate(modalities) if bits >> i & 1) for bits in chosen]
    return sorted(named, key=lambda s: (len(s), [modalities.index(m) for m in s]))
