"""CLIPLoss: the modalities of a row lie close to each other, and far from other rows'."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mmfuse.objectives.base import Schedule
from mmfuse.objectives.contrastive import Pairs, Temperature, info_nce
from mmfuse.objectives.contrastive.nce import shares
from mmfuse.objectives.pairwise import Pairwise


class CLIPLoss(Pairwise):
    """Symmetric InfoNCE between modalities, on the encoders' own outputs.

    For each pair of modalities, over the rows that have both, with the mean token z of each
    scaled to unit length::

        L_ab = [ u CE(s Z_a Z_b', diagonal) + v CE(s Z_b Z_a', diagonal) ] / (u + v)
        s = exp(t) <= 100

    The encoders share one space, in which ``Extractor`` writes their outputs and
    ``mmfuse search`` finds across modalities. Memory grows linearly with the batch; negatives
    come from the batches of all processes.

    With ``pairs="anchor:text"`` every modality is aligned with texts alone; see
    ``AlignedEncoder`` for heads on frozen encoders.

    Args:
        weight: factor in the sum of objectives.
        schedule: how the factor moves over training.
        pairs: ``all``, ``ring``, ``anchor:NAME``, or a list such as ``[[image, text]]``; all
            pairs by default.
        temperature: 1 / s at the start.
        learnable: whether s is learned.
        directions: weights u of finding the second modality of a pair from the first, and v of
            the first from the second.
        group: a target of classes; rows of different classes of it, such as data sets, are not
            each other's negatives.

    Raises:
        ConfigError: a temperature outside 0.01 to 1, directions below zero, or at ``build``:
            modalities of unequal width or fewer than two.
        UnknownModalityError: at ``build``, an unknown name among the pairs.

    Reference: Radford et al., "Learning Transferable Visual Models From Natural Language
        Supervision", ICML 2021, arXiv:2103.00020; one anchor and weights of the directions as
        in Zhang et al., "C3Net", CVPR 2024, arXiv:2311.17951.

    Departs from the paper: any number of modalities; a row takes part in a pair when it has
    both.
    """

    def __init__(
        self,
        weight: float = 1.0,
        schedule: Schedule = "constant",
        pairs: Pairs = None,
        temperature: float = 0.07,
        learnable: bool = True,
        directions: Sequence[float] = (1, 1),
        group: str | None = None,
    ) -> None:
        super().__init__(weight, schedule, pairs, group)
        self.temperature = Temperature(temperature, learnable)
        self.directions = shares(directions)

    def compare(self, x: Tensor, y: Tensor, valid: Tensor, group: Tensor | None) -> Tensor:
        """InfoNCE over the rows that have both."""
        scale = self.temperature()
        return info_nce(x, y, scale, valid=valid, group=group, directions=self.directions)
