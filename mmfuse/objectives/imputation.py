"""ImputationLoss: an imputer is to give what is hidden from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError
from mmfuse.objectives.base import Objective, Schedule
from mmfuse.objectives.hidden import Aim, Targets, draw_hidden
from mmfuse.tokens import Tokens

if TYPE_CHECKING:
    from mmfuse.fusion.imputed import ImputedFusion
    from mmfuse.model import FusionModel, Output

#: The least sum of squares that errors are divided by.
_SMALL = 1e-6


class ImputationLoss(Objective):
    """Squared error of an imputer where modalities were hidden from it (MMIN, SMIL).

    Of each row that has n > 1 modalities, 1 to n - 1 are hidden. With x the encodings, kept and
    hidden disjoint, and x' the row that the imputer makes of what is kept::

        L_m     = 1/M sum_{rows that hide m} | x'_m - target_m |^2 / sum_{same rows} | target_m |^2
        L_cycle = cycle * sum_rows | back(x' where hidden) - sg x |^2 / sum_rows | sg x |^2

    each over the columns that were hidden, or kept. Relative to the size of the targets, as that
    grows while encoders learn, and a best epoch chosen by the sum of losses would be an early one.
    The way back is a second cascade of the same size, which is to find what was kept in what was
    imagined.

    Add it to ``SupervisedLoss`` with an ``ImputedFusion`` whose imputer learns, and give the task
    ``modality_dropout``, so that the heads learn from imagined modalities too. Rows that lost
    modalities to it hide some of the others here.

    Args:
        weight: factor in the sum of objectives; 1 in MMIN, 0.01 in SMIL.
        schedule: how the factor moves over training.
        targets: ``own``, the model's own encodings of this step, and the imputer alone learns from
            them, as encoders that follow their own aim would become alike; or ``start``, those of
            a frozen copy of the encoders as they are when training starts, and encoders learn
            from them too. Started from a model that was trained on complete rows (two stages;
            see docs/absent_training.md), that copy is MMIN's teacher.
        cycle: factor of the way back within the loss; for ``CascadeImputer``.

    Raises:
        ConfigError: unknown targets, a factor below 0; at ``build``, a fusion without an imputer
            that learns, or a cycle for one that has no way back.

    Reference: Zhao, Li and Jin, "Missing Modality Imagination Network for Emotion Recognition
        with Uncertain Missing Modalities", ACL 2021; Ma et al., "SMIL: Multimodal Learning with
        Severely Missing Modality", AAAI 2021, arXiv:2103.05677.

    Departs from the authors' code: errors are relative; hidden modalities alone are compared,
    where MMIN's cascade is also to imagine zero for what is present, and its targets carry the
    teacher's answer to a stream of zeros; rows that lack something take part; SMIL compares two
    later layers, not the encodings.
    """

    def __init__(
        self,
        weight: float = 1.0,
        schedule: Schedule = "constant",
        targets: Aim = "own",
        cycle: float = 0.0,
    ) -> None:
        super().__init__(weight, schedule)
        if targets not in ("own", "start"):
            raise ConfigError(f"targets is {targets!r}; expected 'own' or 'start'.")
        if not cycle >= 0:
            raise ConfigError(f"ImputationLoss: cycle is {cycle}; expected a factor of 0 or more.")
        self.targets, self.cycle = targets, cycle

    def build(self, model: FusionModel) -> None:
        """Checks the imputer; copies the encoders and makes the way back where asked."""
        imputer = getattr(model.fusion, "imputer", None)
        if imputer is None or not any(True for _ in imputer.parameters()):
            found = type(model.fusion if imputer is None else imputer).__name__
            raise ConfigError(
                f"ImputationLoss needs an ImputedFusion whose imputer learns; found {found}. Use "
                "CascadeImputer or MixtureImputer, or leave the objective out."
            )
        if self.cycle:
            if not hasattr(imputer, "twin"):
                raise ConfigError(
                    f"ImputationLoss: cycle is {self.cycle}, and {type(imputer).__name__} has no "
                    "way back. Set cycle to 0, or use CascadeImputer."
                )
            self.back = imputer.twin()
        self.aims = Targets(model, self.targets)

    def forward(
        self, model: FusionModel, batch: Batch, tokens: Mapping[str, Tokens], output: Output
    ) -> dict[str, Tensor]:
        """One loss a modality, and ``cycle``."""
        fusion = cast("ImputedFusion", model.fusion)
        blanked, present = fusion.blanked(tokens, model.present(batch))
        hidden = draw_hidden(present, batch.index, self.training)
        kept = present & ~hidden
        x = fusion.joined(blanked)
        if self.targets == "own":
            x = x.detach()
        imputer = fusion.imputer
        seen = x.masked_fill(~imputer.spread(kept), 0)
        made = fusion.impute(seen, kept)
        losses = {}
        aims = self.aims(model, batch, tokens)
        for i, (m, part) in enumerate(imputer.split(made).items()):
            losses[m] = _relative(part, aims[m], hidden[:, i : i + 1]) / len(aims)
        if self.cycle:
            imagined = made.masked_fill(~imputer.spread(hidden), 0)
            counted = imputer.spread(kept & hidden.any(dim=1, keepdim=True))
            returned = self.back(imagined, hidden)
            losses["cycle"] = self.cycle * _relative(returned, seen.detach(), counted)
        return losses


def _relative(found: Tensor, aim: Tensor, counted: Tensor) -> Tensor:
    """Sum of squared errors over the sum of squares of the aim, of what is counted alone."""
    kind = torch.promote_types(found.dtype, torch.float32)
    error = (found - aim).to(kind).square().masked_fill(~counted, 0).sum()
    size = aim.to(kind).square().masked_fill(~counted, 0).sum()
    return error / size.clamp(min=_SMALL)
