"""DisPro's two stages: prototypes of each modality, and imagined modalities that match them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from torch import Tensor, nn

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError
from mmfuse.objectives.base import Objective
from mmfuse.objectives.supervised import targets_of
from mmfuse.objectives.target_loss import TargetLoss, weighted_mean
from mmfuse.tokens import Tokens

if TYPE_CHECKING:
    from mmfuse.fusion.dispro import DisProFusion, PrototypeHead
    from mmfuse.model import FusionModel, Output


class _OfPrototypes(Objective):
    """Base of both: the targets that have prototypes, and the loss of a modality's scores."""

    def build(self, model: FusionModel) -> None:
        """Makes one loss for each target whose head has prototypes.

        Raises:
            ConfigError: there is none.
        """
        heads = {t: getattr(h, "prototypes", None) for t, h in model.heads.items()}
        found = {t: TargetLoss(model.spec.targets[t]) for t, p in heads.items() if p is not None}
        if not found:
            kinds = {t: s.kind for t, s in model.spec.targets.items()}
            raise ConfigError(
                f"{type(self).__name__} needs a DisProFusion and a target with classes, labels or "
                f"time bins; found {type(model.fusion).__name__} and {kinds or 'no target'}. Use "
                "that fusion, or leave the objective out."
            )
        self.losses = nn.ModuleDict(found)

    def _loss(
        self,
        model: FusionModel,
        batch: Batch,
        place: int,
        tokens: Tokens,
        counted: Tensor,
        frozen: bool,
    ) -> Tensor:
        """What one modality's tokens say, against the targets; the mean over these."""
        targets = targets_of(batch, model)
        total = tokens.values.new_zeros(())
        for name, loss_of in self.losses.items():
            head = cast("PrototypeHead", model.heads[name])
            scores = head.scores(place, tokens, frozen)
            loss, weight = loss_of(scores, targets[name], counted)
            total = total + weighted_mean(loss, weight)
        return total / len(self.losses)


class PrototypeLoss(_OfPrototypes):
    """Each modality alone is to match its prototype of the row's class or time bin (DisPro 1).

    For a ``DisProFusion``, with x a token of modality m in the width of its layers and p_k the
    modality's prototypes::

        s_k = exp(g_m) mean_{top tokens} cos(x, p_k),   exp(g_m) = 1 / 0.07 at the start
        L_m = mean_{rows that have m} loss( s, y )

    where the loss is the target's own: cross-entropy, or the likelihood of discrete hazards. It is
    a stage of its own, with ``SupervisedLoss`` at weight 0; ``PrototypeDistillation`` starts from
    its checkpoint.

    Args:
        weight: factor in the sum of objectives.
        schedule: how the factor moves over training.

    Raises:
        ConfigError: at ``build``, another fusion, or no target with classes, labels or time bins.

    Reference: Xu et al., "Distilled Prompt Learning for Incomplete Multimodal Survival
        Prediction", CVPR 2025, arXiv:2503.01653.

    Departs from the authors' code: see ``DisProFusion``; prototypes share a space with the layers
    of the second stage, where theirs have maps of their own, and encoders learn too unless frozen;
    a binary target has two prototypes, and its one score is the difference of theirs.
    """

    def forward(
        self, model: FusionModel, batch: Batch, tokens: Mapping[str, Tokens], output: Output
    ) -> dict[str, Tensor]:
        """One loss a modality."""
        fusion = cast("DisProFusion", model.fusion)
        blanked, present = fusion.blanked(tokens, model.present(batch))
        losses = {}
        for i, (m, t) in enumerate(blanked.items()):
            wide = Tokens(fusion.projected(m, t), t.mask)
            losses[m] = self._loss(model, batch, i, wide, present[:, i], frozen=False)
        return losses


class PrototypeDistillation(_OfPrototypes):
    """What stands for an absent modality is to match its prototypes of the target (DisPro 2).

    For a ``DisProFusion``, with h what its layers make of the placeholders of modality m, and s as
    in ``PrototypeLoss``, prototypes and their scale frozen::

        L_m = mean_{rows that lack m} loss( s(h), y )

    Add it to ``SupervisedLoss`` in a fit that starts from the checkpoint of ``PrototypeLoss``, with
    rows that lack something: ``modality_dropout`` makes some. The layers run once more for it.

    Args:
        weight: factor in the sum of objectives; 1 in the authors' code.
        schedule: how the factor moves over training.

    Raises:
        ConfigError: at ``build``, another fusion, or no target with classes, labels or time bins.

    Reference: Xu et al., "Distilled Prompt Learning for Incomplete Multimodal Survival
        Prediction", CVPR 2025, arXiv:2503.01653.

    Departs from the authors' code: see ``DisProFusion``; a row with nothing present imagines
    nothing.
    """

    def forward(
        self, model: FusionModel, batch: Batch, tokens: Mapping[str, Tokens], output: Output
    ) -> dict[str, Tensor]:
        """One loss a modality."""
        fusion = cast("DisProFusion", model.fusion)
        blanked, present = fusion.blanked(tokens, model.present(batch))
        imagined = fusion.imagine(blanked, present)
        lacks = ~present & present.any(dim=1, keepdim=True)
        losses = {}
        for i, m in enumerate(blanked):
            states = imagined[:, i]
            here = lacks[:, i].unsqueeze(1).expand(-1, states.shape[1])
            found = Tokens(states, here)
            losses[m] = self._loss(model, batch, i, found, lacks[:, i], frozen=True)
        return losses
