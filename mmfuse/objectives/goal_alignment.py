"""GoalAlignmentLoss: a modality and its substitute lead the fusion to one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError, UnknownModalityError
from mmfuse.objectives.base import Objective, Schedule
from mmfuse.objectives.contrastive import Temperature, info_nce, unit
from mmfuse.objectives.pairwise import mean_token
from mmfuse.tokens import Tokens

if TYPE_CHECKING:
    from mmfuse.model import FusionModel, Output


class GoalAlignmentLoss(Objective):
    """Symmetric InfoNCE of two fusions of a row that differ in one modality.

    Modalities a and b can stand for each other, such as a goal told as a text or shown as an
    image. Over the rows that have both, each row is fused twice, once without b and once
    without a, everything else being the same, the draws of dropout too::

        L = InfoNCE(f(all but b), f(all but a); s),   s = exp(t) <= 100

    What is compared are the fused vectors, so that the loss acts on how a or b changes the
    representation of the whole, not on their own embeddings.

    Args:
        weight: factor in the sum of objectives.
        schedule: how the factor moves over training.
        swap: the two modalities a and b; None for the last two in fusion order.
        temperature: 1 / s at the start; it is learned.

    Raises:
        ConfigError: ``swap`` is not of two modalities, a temperature outside 0.01 to 1, or at
            ``build``: fewer than two modalities.
        UnknownModalityError: at ``build``, a modality that the model does not have.

    Reference: Reuss et al., "Multimodal Diffusion Transformer: Learning Versatile Behavior from
        Multimodal Goals" (MDT), RSS 2024, arXiv:2407.05996, contrastive latent alignment.

    Departs from the authors' code: any fusion in place of their transformer, its whole vector in
    place of one token; the scale has a cap.
    """

    def __init__(
        self,
        weight: float = 1.0,
        schedule: Schedule = "constant",
        swap: Sequence[str] | None = None,
        temperature: float = 0.07,
    ) -> None:
        super().__init__(weight, schedule)
        if swap is not None and (isinstance(swap, str) or len(swap) != 2 or swap[0] == swap[1]):
            raise ConfigError(f"GoalAlignmentLoss: swap is {swap!r}; expected two modalities.")
        self.swap = swap
        self.temperature = Temperature(temperature)

    def build(self, model: FusionModel) -> None:
        """Finds the two modalities."""
        known = list(model.modalities)
        names = list(self.swap or known[-2:])
        if unknown := set(names) - set(known):
            raise UnknownModalityError(
                f"GoalAlignmentLoss: swap names {sorted(unknown)}; the model has {known}."
            )
        if len(names) < 2:
            raise ConfigError(
                f"GoalAlignmentLoss swaps one modality for another; there is {known} alone."
            )
        self._names, self._columns = names, [known.index(m) for m in names]

    def forward(
        self, model: FusionModel, batch: Batch, tokens: Mapping[str, Tokens], output: Output
    ) -> dict[str, Tensor]:
        """The one loss, named after the two modalities."""
        present = model.present(batch)
        a, b = self._columns
        (_, has_a), (_, has_b) = (mean_token(m, model, batch, tokens) for m in self._names)
        devices = [present.device] if present.device.type == "cuda" else []
        with torch.random.fork_rng(devices):  # the second pass draws what the first drew
            without_b = _fuse_without(model, tokens, present, b)
        without_a = _fuse_without(model, tokens, present, a)
        x, y = unit(without_b), unit(without_a)
        return {"_".join(self._names): info_nce(x, y, self.temperature(), valid=has_a & has_b)}


def _fuse_without(
    model: FusionModel, tokens: Mapping[str, Tokens], present: Tensor, column: int
) -> Tensor:
    there = present.clone()
    there[:, column] = False
    return model.fuse(tokens, there).vector
