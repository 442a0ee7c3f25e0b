"""OrthogonalityLoss: two modalities should tell different things."""

from __future__ import annotations

from itertools import combinations

from torch import Tensor, nn

from mmfuse.objectives.base import Schedule
from mmfuse.objectives.contrastive import unit
from mmfuse.recommend.batch import RankingBatch
from mmfuse.recommend.model import RankingOutput, RecommendationModel
from mmfuse.recommend.objectives.base import RankingObjective
from mmfuse.recommend.objectives.modality import maps, modality_vectors


class OrthogonalityLoss(RankingObjective):
    """The mean squared entry of the cross-covariance of two modalities.

    ::

        L_ab = mean over entries of (C_ab)^2,   C_ab = 1/n  Za' Zb

    Z^m holds a row for each distinct item of the batch that has both modalities: what the
    encoder of m makes of it, of unit length, less the mean of the rows.

    Args:
        weight: factor in the sum.
        schedule: how the factor moves over training progress.

    Raises:
        ConfigError: at ``build``, items without modalities.

    Reference: "Refining contrastive learning and homography relations for multi-modal
        recommendation" (REARM), 2025, arXiv:2508.13745.

    Departs from the paper: over the batch's items, where the authors take all items each step.
    """

    reads_content = True
    needs_negatives = False

    def __init__(self, weight: float = 1e-4, schedule: Schedule = "constant") -> None:
        super().__init__(weight, schedule)

    def build(self, model: RecommendationModel) -> None:
        """Maps for encoders of another width."""
        self.project = nn.ModuleDict(maps(model, "OrthogonalityLoss"))

    def forward(
        self, model: RecommendationModel, batch: RankingBatch, output: RankingOutput
    ) -> dict[str, Tensor]:
        """``<a>_<b>`` for each pair of modalities that items of the batch have."""
        found = {}
        sides = modality_vectors(model, output, self.project)
        for (a, (x, has_a)), (b, (y, has_b)) in combinations(sides.items(), 2):
            both = (has_a & has_b).unsqueeze(1)
            count = both.sum().clamp(min=1)
            x_0, y_0 = (_centred(unit(z), both, count) for z in (x, y))
            found[f"{a}_{b}"] = (x_0.T @ y_0 / count).square().mean()
        return found


def _centred(z: Tensor, there: Tensor, count: Tensor) -> Tensor:
    """Rows less their mean; rows that take no part are zero."""
    z = z.masked_fill(~there, 0)
    return (z - z.sum(dim=0) / count).masked_fill(~there, 0)
