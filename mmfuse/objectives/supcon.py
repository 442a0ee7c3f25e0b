"""SupConLoss: rows of one class lie close to each other, whatever modality they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.errors import UnknownModalityError
from mmfuse.objectives.base import Objective, Schedule
from mmfuse.objectives.contrastive import Temperature, multi_positive
from mmfuse.objectives.pairwise import (
    chosen_class_target,
    labels_of,
    require_one_width,
    sides_of,
)
from mmfuse.tokens import Tokens

if TYPE_CHECKING:
    from mmfuse.model import FusionModel, Output


class SupConLoss(Objective):
    """Supervised contrastive loss; the modalities of a row are its views.

    All present modalities of all rows form one set of unit vectors. With P(i) those of the same
    class as vector i, itself left out, and A(i) all others::

        L = mean_i -1/|P(i)| sum_{p in P(i)} log softmax_{a in A(i)}(s z_i . z_a)_p

    A row without a label has its own other modalities for positives.

    Args:
        weight: factor in the sum of objectives.
        schedule: how the factor moves over training.
        modalities: which ones take part; all by default. One alone is enough.
        target: the target of classes; None where there is one only.
        temperature: 1 / s.
        learnable: whether s is learned.

    Raises:
        ConfigError: a temperature outside 0.01 to 1, or at ``build``: no target of classes or
            several and none named, or encoders of unequal width.
        UnknownModalityError: at ``build``, a modality that the model does not have.

    Reference: Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, arXiv:2004.11362,
        equation 2.

    Departs from the paper: views are modalities, not augmentations; no projection besides the
    encoders.
    """

    def __init__(
        self,
        weight: float = 1.0,
        schedule: Schedule = "constant",
        modalities: Sequence[str] | None = None,
        target: str | None = None,
        temperature: float = 0.1,
        learnable: bool = False,
    ) -> None:
        super().__init__(weight, schedule)
        self.modalities, self.target = modalities, target
        self.temperature = Temperature(temperature, learnable)

    def build(self, model: FusionModel) -> None:
        """Chooses the target, and checks that the encoders can share a space."""
        self._modalities = list(self.modalities or model.modalities)
        if unknown := set(self._modalities) - set(model.modalities):
            raise UnknownModalityError(
                f"SupConLoss: modalities names {sorted(unknown)}; the model has "
                f"{list(model.modalities)}."
            )
        require_one_width("SupConLoss", self._modalities, model)
        self._target = chosen_class_target("SupConLoss", self.target, model)

    def forward(
        self, model: FusionModel, batch: Batch, tokens: Mapping[str, Tokens], output: Output
    ) -> dict[str, Tensor]:
        """The one loss, named after the target."""
        sides = sides_of(self._modalities, model, batch, tokens).values()
        labels = labels_of(batch, model, self._target)
        # A row without a label is a class of its own, known by its place in the data.
        own = len(model.spec.targets[self._target].classes) + batch.index
        labels = torch.where(labels < 0, own, labels)
        loss = multi_positive(
            torch.cat([side.vectors for side in sides]),
            None,
            self.temperature(),
            labels=labels.repeat(len(sides)),
            valid=torch.cat([side.present for side in sides]),
        )
        return {self._target: loss}
