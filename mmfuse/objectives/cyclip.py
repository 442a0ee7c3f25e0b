"""CyCLIPLoss: CLIP, and cosines that agree within and across the modalities."""

from __future__ import annotations

from torch import Tensor

from mmfuse.objectives.base import Schedule
from mmfuse.objectives.contrastive import Pairs, Temperature, cyclic_consistency, info_nce
from mmfuse.objectives.pairwise import Pairwise


class CyCLIPLoss(Pairwise):
    """Symmetric InfoNCE with cyclic consistency within and across the modalities.

    For each pair of modalities, over the n rows that have both::

        L_ab = InfoNCE(x, y) + u/n sum_jk (x_j . x_k - y_j . y_k)^2
                             + v/n sum_jk (x_j . y_k - x_k . y_j)^2

    Two rows are then as like each other in one modality as in the other, which helps where
    vectors of both are compared with a third, as in zero-shot classification.

    Args:
        weight: factor in the sum of objectives.
        schedule: how the factor moves over training.
        pairs: ``all``, ``ring``, ``anchor:NAME``, or a list such as ``[[image, text]]``; all
            pairs by default.
        temperature: 1 / s at the start; it is learned.
        within: weight u of the consistency within modalities.
        across: weight v of the consistency across them.
        group: a target of classes; rows of different classes of it are not each other's
            negatives. The consistency takes all rows.

    Raises:
        ConfigError: a temperature outside 0.01 to 1, or at ``build`` as for ``CLIPLoss``.
        UnknownModalityError: at ``build``, an unknown name among the pairs.

    Reference: Goel et al., "CyCLIP: Cyclic Contrastive Language-Image Pretraining", NeurIPS
        2022, arXiv:2205.14459.

    Departs from the paper: any number of modalities. The sums over pairs of rows are made from
    products of D x D; see ``cyclic_consistency``.
    """

    def __init__(
        self,
        weight: float = 1.0,
        schedule: Schedule = "constant",
        pairs: Pairs = None,
        temperature: float = 0.07,
        within: float = 0.25,
        across: float = 0.25,
        group: str | None = None,
    ) -> None:
        super().__init__(weight, schedule, pairs, group)
        self.temperature = Temperature(temperature)
        self.within, self.across = within, across

    def compare(self, x: Tensor, y: Tensor, valid: Tensor, group: Tensor | None) -> Tensor:
        """The three terms over the rows that have both."""
        contrast = info_nce(x, y, self.temperature(), valid=valid, group=group)
        within, across = cyclic_consistency(x, y, valid=valid)
        return contrast + self.within * within + self.across * across
