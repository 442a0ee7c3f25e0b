"""SigLIPLoss: every pair of rows judged on its own, partners or not."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmfuse.objectives.base import Schedule
from mmfuse.objectives.contrastive import Pairs, Temperature, sigmoid_loss
from mmfuse.objectives.pairwise import Pairwise


class SigLIPLoss(Pairwise):
    """Sigmoid loss between modalities, on the encoders' own outputs.

    For each pair of modalities, over the n rows that have both, with z_ij = 1 for partners and
    -1 for others::

        L_ab = -1/n sum_ij log sigmoid(z_ij (s x_i . y_j + b)),   s = exp(t) <= 100

    No row's loss depends on the size of the batch, so that it does well with small ones, where
    ``CLIPLoss`` has few negatives.

    Args:
        weight: factor in the sum of objectives.
        schedule: how the factor moves over training.
        pairs: ``all``, ``ring``, ``anchor:NAME``, or a list such as ``[[image, text]]``; all
            pairs by default.
        temperature: 1 / s at the start; it is learned.
        bias: b at the start; it is learned.
        group: a target of classes; rows of different classes of it are not compared.

    Raises:
        ConfigError: a temperature outside 0.01 to 1, or at ``build`` as for ``CLIPLoss``.
        UnknownModalityError: at ``build``, an unknown name among the pairs.

    Reference: Zhai et al., "Sigmoid Loss for Language Image Pre-Training", ICCV 2023,
        arXiv:2303.15343.

    Departs from the paper: any number of modalities; the scale has a cap.
    """

    def __init__(
        self,
        weight: float = 1.0,
        schedule: Schedule = "constant",
        pairs: Pairs = None,
        temperature: float = 0.1,
        bias: float = -10.0,
        group: str | None = None,
    ) -> None:
        super().__init__(weight, schedule, pairs, group)
        self.temperature = Temperature(temperature)
        self.bias = nn.Parameter(torch.tensor(float(bias)))

    def compare(self, x: Tensor, y: Tensor, valid: Tensor, group: Tensor | None) -> Tensor:
        """The sigmoid loss over the rows that have both."""
        return sigmoid_loss(x, y, self.temperature(), self.bias, valid=valid, group=group)
