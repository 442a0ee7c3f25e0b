"""BootstrapLoss: users and items predict each other, without any negative."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from mmfuse.errors import ConfigError
from mmfuse.objectives.base import Schedule
from mmfuse.recommend.batch import RankingBatch
from mmfuse.recommend.model import RankingOutput, RecommendationModel
from mmfuse.recommend.objectives.base import RankingObjective
from mmfuse.recommend.objectives.modality import maps, modality_vectors


class BootstrapLoss(RankingObjective):
    """What a user is predicts what it took, and the other way round; no negative is needed.

    ::

        L = d(p(x_u), x_i') + d(p(x_i), x_u')
            + lambda sum_m [ d(p(z_i^m), x_i') + d(p(z_i^m), z_i^m') ],   d(a, b) = 1 - cos(a, b)

    p is one linear predictor for all; x' is dropout of x without gradient; z^m is what the encoder
    of modality m makes of the item.

    Args:
        dropout: rate that makes the targets, from 0 up to, but not, 1.
        modality_weight: lambda.
        weight: factor in the sum.
        schedule: how the factor moves over training progress.

    Raises:
        ConfigError: a rate outside its range or a factor below 0; at ``build``, a factor above 0
            for items without modalities.

    Reference: Zhou et al., "Bootstrap Latent Representations for Multi-modal Recommendation" (BM3),
        WWW 2023, arXiv:2207.05969.

    Departs from the paper: an item that lacks a modality takes no part in its terms.
    """

    reads_content, reads_drawn = True, False
    needs_negatives = False

    def __init__(
        self,
        dropout: float = 0.3,
        modality_weight: float = 2.0,
        weight: float = 1.0,
        schedule: Schedule = "constant",
    ) -> None:
        super().__init__(weight, schedule)
        if not 0 <= dropout < 1 or not modality_weight >= 0:
            raise ConfigError(
                f"BootstrapLoss: dropout {dropout}, modality_weight {modality_weight}; expected a "
                "rate from 0 up to, but not, 1, and a factor of 0 or more."
            )
        self.dropout, self.modality_weight = dropout, modality_weight

    def build(self, model: RecommendationModel) -> None:
        """The predictor, and maps for encoders of another width."""
        self.predict = nn.Linear(model.item.out_dim, model.item.out_dim)
        nn.init.xavier_normal_(self.predict.weight)
        self.project = nn.ModuleDict(maps(model, "BootstrapLoss") if self.modality_weight else {})

    def forward(
        self, model: RecommendationModel, batch: RankingBatch, output: RankingOutput
    ) -> dict[str, Tensor]:
        """``user``, ``item``, and both terms of each modality."""
        x_u, x_i = output.users, output.items[:, 0]
        user, item = self._target(x_u), self._target(x_i)
        found = {
            "user": _apart(self.predict(x_u), item).mean(),
            "item": _apart(self.predict(x_i), user).mean(),
        }
        if not self.modality_weight:
            return found
        assert output.places is not None
        mine = output.places[:, 0]
        for m, (vectors, here) in modality_vectors(model, output, self.project).items():
            z, there = vectors[mine], here[mine]
            predicted, count = self.predict(z), there.sum().clamp(min=1)
            for name, target in ((f"{m}_item", item), (m, self._target(z))):
                apart = _apart(predicted, target).masked_fill(~there, 0).sum() / count
                found[name] = self.modality_weight * apart
        return found

    def _target(self, x: Tensor) -> Tensor:
        return F.dropout(x.detach(), self.dropout, self.training)


def _apart(x: Tensor, y: Tensor) -> Tensor:
    return 1 - F.cosine_similarity(x, y, dim=-1)
