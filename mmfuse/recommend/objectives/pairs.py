"""Losses on the scores of observed items and of drawn ones: BPR, cross-entropy, softmax."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from mmfuse.errors import ConfigError
from mmfuse.objectives.base import Schedule
from mmfuse.recommend.batch import RankingBatch
from mmfuse.recommend.model import RankingOutput, RecommendationModel
from mmfuse.recommend.objectives.base import RankingObjective


class BPRLoss(RankingObjective):
    """Bayesian personalised ranking: an observed item should score above a drawn one.

    ::

        L = mean over pairs (i observed, j drawn) of -log sigmoid(s_ui - s_uj)

    Args:
        weight: factor in the sum.
        schedule: how the factor moves over training progress.

    Reference: Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI
        2009, arXiv:1205.2618.
    """

    def forward(
        self, model: RecommendationModel, batch: RankingBatch, output: RankingOutput
    ) -> dict[str, Tensor]:
        """The loss, as ``bpr``."""
        return {"bpr": pairwise(model.score.pairs(output.users, output.items)).mean()}


class BCELoss(RankingObjective):
    """Binary cross-entropy: an observed item is a one, a drawn one a zero.

    ::

        L = mean of -log sigmoid(s_ui)  +  mean of -log(1 - sigmoid(s_uj))

    Args:
        weight: factor in the sum.
        schedule: how the factor moves over training progress.

    Reference: He et al., "Neural Collaborative Filtering", WWW 2017, arXiv:1708.05031, section 3.1.
    """

    def forward(
        self, model: RecommendationModel, batch: RankingBatch, output: RankingOutput
    ) -> dict[str, Tensor]:
        """The loss, as ``bce``."""
        scores = model.score.pairs(output.users, output.items)
        return {"bce": F.softplus(-scores[:, 0]).mean() + F.softplus(scores[:, 1:]).mean()}


class SampledSoftmaxLoss(RankingObjective):
    """Softmax over the observed item and the drawn ones.

    ::

        L = mean of -log( exp(s_ui / tau) / sum_{k in {i, j_1, ..., j_N}} exp(s_uk / tau) )

    Args:
        temperature: tau, above 0.
        weight: factor in the sum.
        schedule: how the factor moves over training progress.

    Raises:
        ConfigError: a temperature that is not above 0.

    Reference: Wu et al., "On the Effectiveness of Sampled Softmax Loss for Item Recommendation",
        2022, arXiv:2201.02327.
    """

    def __init__(
        self, temperature: float = 1.0, weight: float = 1.0, schedule: Schedule = "constant"
    ) -> None:
        super().__init__(weight, schedule)
        if not temperature > 0:
            raise ConfigError(f"SampledSoftmaxLoss: temperature is {temperature}; expected > 0.")
        self.temperature = temperature

    def forward(
        self, model: RecommendationModel, batch: RankingBatch, output: RankingOutput
    ) -> dict[str, Tensor]:
        """The loss, as ``softmax``."""
        scores = model.score.pairs(output.users, output.items) / self.temperature
        return {"softmax": (scores.logsumexp(dim=1) - scores[:, 0]).mean()}


class EmbeddingL2(RankingObjective):
    """Half the squared length of the vectors that a batch starts with, before any graph.

    ::

        L = 1/(2B) sum over the batch of |x_u|^2 + |x_i|^2 + sum_j |x_j|^2

    Args:
        weight: factor in the sum.
        schedule: how the factor moves over training progress.

    Reference: He et al., "LightGCN", SIGIR 2020, arXiv:2002.02126, equation 15, on the batch's
        vectors as in the authors' code.
    """

    needs_negatives = False

    def __init__(self, weight: float = 1e-4, schedule: Schedule = "constant") -> None:
        super().__init__(weight, schedule)

    def forward(
        self, model: RecommendationModel, batch: RankingBatch, output: RankingOutput
    ) -> dict[str, Tensor]:
        """The loss, as ``l2``."""
        total = output.start_users.square().sum() + output.start_items.square().sum()
        return {"l2": total / (2 * len(batch))}


def pairwise(scores: Tensor) -> Tensor:
    """``-log sigmoid`` of how far the first score is above each of the others.

    Shape:
        scores (B, 1 + N) -> (B, N)
    """
    return F.softplus(scores[:, 1:] - scores[:, :1])
