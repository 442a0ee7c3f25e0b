"""InBatchSoftmaxLoss: the batch's other items are the negatives, for their popularity."""

from __future__ import annotations

import torch
from torch import Tensor

from mmfuse.errors import ConfigError
from mmfuse.objectives.base import Schedule
from mmfuse.recommend.batch import RankingBatch
from mmfuse.recommend.model import RankingOutput, RecommendationModel
from mmfuse.recommend.objectives.base import RankingObjective
from mmfuse.recommend.objectives.batch_rows import distinct_items


class InBatchSoftmaxLoss(RankingObjective):
    """Softmax over the distinct items that the batch's users took.

    ::

        L = mean over pairs of -log( exp(t_ui) / [ exp(t_ui) + sum_{k != i} n_k exp(t_uk) ] )
        t_uk = s_uk / tau - log q_k

    n_k is how often item k stands in the batch, which is as often as it is taken; q_k, its share
    of the training pairs, undoes that. What the user took elsewhere in the batch is no negative.

    Args:
        temperature: tau, above 0.
        is_corrected: whether log q is taken away.
        weight: factor in the sum.
        schedule: how the factor moves over training progress.

    Raises:
        ConfigError: a temperature that is not above 0.

    Reference: Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item
        Recommendations", RecSys 2019.

    Departs from the paper: q is counted, not estimated from the stream; other pairs of the same
    user, and of the same item, are no negatives.
    """

    needs_negatives = False

    def __init__(
        self,
        temperature: float = 0.2,
        is_corrected: bool = True,
        weight: float = 1.0,
        schedule: Schedule = "constant",
    ) -> None:
        super().__init__(weight, schedule)
        if not temperature > 0:
            raise ConfigError(f"InBatchSoftmaxLoss: temperature is {temperature}; expected > 0.")
        self.temperature, self.is_corrected = temperature, is_corrected

    def forward(
        self, model: RecommendationModel, batch: RankingBatch, output: RankingOutput
    ) -> dict[str, Tensor]:
        """The loss, as ``softmax``."""
        rows = distinct_items(batch)
        codes, own = torch.unique(batch.items, return_inverse=True)
        scores = model.score.matrix(output.users, output.items[rows, 0]) / self.temperature
        if self.is_corrected:
            taken = model.item.taken
            scores = scores - (taken[codes].clamp(min=1) / taken.sum()).log().to(scores.dtype)
        observed = scores.gather(1, own.unsqueeze(1))
        _, who = torch.unique(batch.users, return_inverse=True)
        took = torch.zeros(len(batch), len(codes), dtype=torch.bool, device=codes.device)
        took[who, own] = True  # the observed item among them, which is added once, below
        repeats = torch.bincount(own).log().to(scores.dtype)
        others = (scores + repeats).masked_fill(took[who], -torch.inf)
        candidates = torch.cat([observed, others], dim=1)
        return {"softmax": (candidates.logsumexp(dim=1) - observed.squeeze(1)).mean()}
