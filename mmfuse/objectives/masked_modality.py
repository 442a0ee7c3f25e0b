"""MaskedModalityLoss: the fused vector is to tell the modalities that were hidden from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError
from mmfuse.objectives.base import Objective, Schedule
from mmfuse.objectives.hidden import Aim, Targets, draw_hidden
from mmfuse.objectives.target_loss import weighted_mean
from mmfuse.tokens import Tokens

if TYPE_CHECKING:
    from mmfuse.model import FusionModel, Output


class MaskedModalityLoss(Objective):
    """Masked-modality modelling with any fusion, in the manner of ActionMAE.

    Of each row that has n > 1 modalities, 1 to n - 1 are hidden and the rest is fused once more;
    a perceptron of each modality then tells its encoding from the fused vector v::

        L_m = 1/M mean_{rows that hide m}  mean_D ( MLP_m(v) - LayerNorm(target_m) )^2

    Used before the labels, alone (``SupervisedLoss`` at weight 0, or data without a target), it
    pretrains encoders and fusion; a fit that starts from there fine-tunes, and the perceptrons
    stay behind. Used beside ``SupervisedLoss`` it makes the fused vector one from which the absent
    can be told.

    Args:
        weight: factor in the sum of objectives.
        schedule: how the factor moves over training.
        targets: ``own``, the model's own encodings of this step, whose encoders something else
            must train or keep, as encodings that are all alike would be told best; or ``start``,
            those of a frozen copy of the encoders as they are when training starts, which a
            pretraining without labels needs.
        hidden: width of the perceptrons' hidden layer.

    Raises:
        ConfigError: unknown targets, or a width below 1.

    Reference: Woo et al., "Towards Good Practices for Missing Modality Robust Action Recognition"
        (ActionMAE), AAAI 2023, arXiv:2211.13916.

    Departs from the authors' code: the fused vector is what remembers, in place of memory tokens
    and a transformer decoder; how many to hide is drawn for each row, not for each batch; rows
    that lack something take part; heads read the fused vector, not rebuilt tokens, so that no
    position can be mistaken for another.
    """

    def __init__(
        self,
        weight: float = 1.0,
        schedule: Schedule = "constant",
        targets: Aim = "own",
        hidden: int = 256,
    ) -> None:
        super().__init__(weight, schedule)
        if targets not in ("own", "start"):
            raise ConfigError(f"targets is {targets!r}; expected 'own' or 'start'.")
        if hidden < 1:
            raise ConfigError(f"MaskedModalityLoss: hidden is {hidden}; expected 1 or more.")
        self.targets, self.hidden = targets, hidden

    def build(self, model: FusionModel) -> None:
        """Makes the perceptrons, and copies the encoders where asked."""
        width = model.fusion.out_dim
        self.decode = nn.ModuleDict(
            {
                m: nn.Sequential(
                    nn.Linear(width, self.hidden), nn.GELU(), nn.Linear(self.hidden, d)
                )
                for m, d in model.dims.items()
            }
        )
        self.aims = Targets(model, self.targets)

    def forward(
        self, model: FusionModel, batch: Batch, tokens: Mapping[str, Tokens], output: Output
    ) -> dict[str, Tensor]:
        """One loss a modality."""
        _, present = model.fusion.blanked(tokens, model.present(batch))
        hidden = draw_hidden(present, batch.index, self.training)
        vector = model.fuse(tokens, present & ~hidden).vector
        losses = {}
        aims = self.aims(model, batch, tokens)
        for i, (m, aim) in enumerate(aims.items()):
            error = self.decode[m](vector) - F.layer_norm(aim, aim.shape[1:])
            loss = error.square().mean(dim=1).masked_fill(~hidden[:, i], 0)
            losses[m] = weighted_mean(loss, hidden[:, i].to(loss.dtype)) / len(aims)
        return losses
