"""HingeLoss: an observed item should score above a drawn one by a margin."""

from __future__ import annotations

from torch import Tensor

from mmfuse.errors import ConfigError
from mmfuse.objectives.base import Schedule
from mmfuse.recommend.batch import RankingBatch
from mmfuse.recommend.model import RankingOutput, RecommendationModel
from mmfuse.recommend.objectives.base import RankingObjective


class HingeLoss(RankingObjective):
    """A margin between the scores of an observed item and of a drawn one.

    ::

        L = mean over pairs (i observed, j drawn) of max(0, margin - (s_ui - s_uj))

    Args:
        margin: above 0.
        weight: factor in the sum.
        schedule: how the factor moves over training progress.

    Raises:
        ConfigError: a margin that is not above 0.

    Reference: Chen et al., "PAL: Pluralistic Alignment Framework for Learning from Heterogeneous
        Preferences", 2024, arXiv:2406.08469.
    """

    def __init__(
        self, margin: float = 1.0, weight: float = 1.0, schedule: Schedule = "constant"
    ) -> None:
        super().__init__(weight, schedule)
        if not margin > 0:
            raise ConfigError(f"HingeLoss: margin is {margin}; expected a number above 0.")
        self.margin = margin

    def forward(
        self, model: RecommendationModel, batch: RankingBatch, output: RankingOutput
    ) -> dict[str, Tensor]:
        """The loss, as ``hinge``."""
        scores = model.score.pairs(output.users, output.items)
        return {"hinge": (self.margin - (scores[:, :1] - scores[:, 1:])).relu().mean()}
