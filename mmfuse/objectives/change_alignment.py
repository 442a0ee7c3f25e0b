"""ChangeAlignmentLoss: a text lies close to the change between two states, not to the last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError, UnknownModalityError
from mmfuse.objectives.base import Objective, Schedule
from mmfuse.objectives.contrastive import Temperature, info_nce, unit
from mmfuse.objectives.contrastive.nce import shares
from mmfuse.objectives.pairwise import class_target, labels_of, mean_token, require_one_width
from mmfuse.tokens import Tokens

if TYPE_CHECKING:
    from mmfuse.model import FusionModel, Output


class ChangeAlignmentLoss(Objective):
    """Symmetric InfoNCE of a text with the difference of what two states are encoded to.

    Over the rows that have all three, with z the mean tokens and unit(v) = v / |v|::

        L = InfoNCE(unit(z_after - z_before), unit(z_text); s),   s = exp(t) <= 100

    So a sentence such as "open the drawer" is compared with what happened, which no single
    state shows. Where one modality holds both states, ``PairDeltaEncoder`` encodes their change
    and ``CLIPLoss`` compares it with the text.

    Args:
        weight: factor in the sum of objectives.
        schedule: how the factor moves over training.
        states: the modalities before and after; None for the first two in fusion order.
        text: the modality that tells of the change; None for the last in fusion order.
        temperature: 1 / s at the start.
        learnable: whether s is learned.
        directions: weights of finding the text of a change, and the change of a text.
        group: a target of classes; rows of different classes of it, such as data sets, are not
            each other's negatives.

    Raises:
        ConfigError: ``states`` is not of two modalities, a temperature outside 0.01 to 1,
            directions below zero, or at ``build``: fewer than three modalities, encoders of
            unequal width, or a group that is no target of classes.
        UnknownModalityError: at ``build``, a modality that the model does not have.

    Reference: Myers et al., "Goal Representations for Instruction Following: A Semi-Supervised
        Language Interface to Control" (GRIF), CoRL 2023, arXiv:2307.00117.

    Departs from the authors' code: the states are encoded one by one unless an encoder reads
    both; cosines alone; a batch without any complete row costs nothing, where the code counts
    every row.
    """

    def __init__(
        self,
        weight: float = 1.0,
        schedule: Schedule = "constant",
        states: Sequence[str] | None = None,
        text: str | None = None,
        temperature: float = 0.07,
        learnable: bool = True,
        directions: Sequence[float] = (1, 1),
        group: str | None = None,
    ) -> None:
        super().__init__(weight, schedule)
        if states is not None and (isinstance(states, str) or len(states) != 2):
            raise ConfigError(
                f"ChangeAlignmentLoss: states is {states!r}; expected the modalities before and "
                "after."
            )
        self.states, self.text, self.group = states, text, group
        self.temperature = Temperature(temperature, learnable)
        self.directions = shares(directions)

    def build(self, model: FusionModel) -> None:
        """Finds the three modalities, and checks that they can share a space."""
        known = list(model.modalities)
        names = [*(self.states or known[:2]), self.text or known[-1]]
        if unknown := set(names) - set(known):
            raise UnknownModalityError(
                f"ChangeAlignmentLoss names {sorted(unknown)}; the model has {known}."
            )
        if len(set(names)) < 3:
            raise ConfigError(
                "ChangeAlignmentLoss needs three different modalities, two states and a text; "
                f"found {names} of {known}. For a modality that holds both states use "
                "PairDeltaEncoder and CLIPLoss."
            )
        require_one_width("ChangeAlignmentLoss", names, model)
        if self.group is not None:
            class_target("ChangeAlignmentLoss", self.group, model)
        self._names = names

    def forward(
        self, model: FusionModel, batch: Batch, tokens: Mapping[str, Tokens], output: Output
    ) -> dict[str, Tensor]:
        """The one loss, named after the text."""
        found = [mean_token(m, model, batch, tokens) for m in self._names]
        (before, had), (after, has), (text, told) = found
        group = None if self.group is None else labels_of(batch, model, self.group)
        loss = info_nce(
            unit(after - before),
            unit(text),
            self.temperature(),
            valid=had & has & told,
            group=group,
            directions=self.directions,
        )
        return {self._names[-1]: loss}
