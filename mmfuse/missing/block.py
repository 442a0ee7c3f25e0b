"""Blocks: modalities that come from one device, and are lost together."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmfuse.errors import ConfigError
from mmfuse.missing.base import Missingness, RowFacts
from mmfuse.missing.drop import checked_rate, columns, draws, thin


class BlockMCAR(Missingness):
    """The modalities of a block are lost in the same rows, completely at random.

    Each modality is lost at the rate, and two of a block with a stated correlation::

        P(m is lost) = rate        corr(m is lost, n is lost) = correlation

    A modality reads the block's number in place of its own with probability
    ``sqrt(correlation)``, so that two read the same one with probability ``correlation``.
    Modalities of different blocks are lost independently. With the same seed a higher rate
    takes away all that a lower one does.

    Args:
        rate: probability with which a modality goes.
        blocks: lists of modalities; one in no list is a block of its own. None puts all
            modalities in one block.
        correlation: between the losses of two modalities of a block, from 0 (``MCAR``) to 1
            (a block goes as a whole).
        seed: of the draws.
        keep_one: a row never loses the last modality that it had; one of those lost is given
            back, each with the same chance, which breaks a block up where it was all there was.

    Raises:
        ConfigError: a rate or correlation outside [0, 1], or a modality in two blocks.
        UnknownModalityError: a modality that the data lacks.

    Reference: block-wise missing modalities, as in Yuan et al., "Multi-source feature learning
    for joint analysis of incomplete multiple heterogeneous neuroimaging data", NeuroImage 61,
    2012.
    """

    def __init__(
        self,
        rate: float,
        blocks: list[list[str]] | None = None,
        correlation: float = 1.0,
        seed: int = 0,
        keep_one: bool = True,
    ) -> None:
        self.rate = checked_rate(rate)
        self.correlation = checked_rate(correlation, "correlation")
        names = [m for block in blocks or [] for m in block]
        if twice := sorted({m for m in names if names.count(m) > 1}):
            raise ConfigError(
                f"Modalities {twice} stand in two blocks of {blocks}; name them once."
            )
        self.blocks = blocks
        self.seed, self.keep_one = seed, keep_one

    def keep(self, facts: RowFacts, epoch: int = 0) -> Tensor:
        """``(B, M)`` bool, False where the modality is taken away."""
        blocks = [list(facts.modalities)] if self.blocks is None else self.blocks
        own = draws(self.seed, facts.index, facts.modalities)
        is_shared = draws(self.seed, facts.index, facts.modalities, "reads the block")
        is_shared = is_shared < math.sqrt(self.correlation)
        number = own.clone()
        for block in blocks:
            # Sorted, so that neither the order of modalities nor of the list decides.
            places = columns(sorted(block), facts, "BlockMCAR")
            shared = draws(self.seed, facts.index, ["block"], *sorted(block))
            number[:, places] = torch.where(is_shared[:, places], shared, own[:, places])
        probability = torch.full_like(number, self.rate)
        return thin(facts, number, probability, self.keep_one, tie=own)
