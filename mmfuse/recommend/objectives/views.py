"""PerturbedViews: two noisy looks at a user or an item are of the same."""

from __future__ import annotations

import torch
from torch import Tensor

from mmfuse.errors import ConfigError
from mmfuse.objectives.base import Schedule
from mmfuse.objectives.contrastive import Temperature, info_nce, unit
from mmfuse.recommend.batch import RankingBatch
from mmfuse.recommend.model import RankingOutput, RecommendationModel
from mmfuse.recommend.objectives.base import RankingObjective
from mmfuse.recommend.objectives.batch_rows import distinct_items, distinct_users


class PerturbedViews(RankingObjective):
    """InfoNCE between two perturbed views of final vectors, over users and over items.

    ::

        x' = x + eta |x| sign(x) * n / |n|,   n ~ U(0, 1)^D, drawn for each view
        L  = InfoNCE(x_u', x_u''; tau) + InfoNCE(x_i', x_i''; tau)

    over the batch's distinct users and its distinct observed items. The noise is as long as eta
    times the vector, and leaves it in its orthant.

    Args:
        strength: eta, above 0.
        temperature: tau, from 0.01 to 1.
        weight: factor in the sum.
        schedule: how the factor moves over training progress.

    Raises:
        ConfigError: a strength that is not above 0, or a temperature outside its range.

    References: the strength as in "Semantic Item Graph Enhancement for Multimodal Recommendation"
        (CEAA), 2025, arXiv:2508.06154; the noise as in Yu et al., "Are Graph Augmentations
        Necessary? Simple Graph Contrastive Learning for Recommendation" (SimGCL), SIGIR 2022,
        arXiv:2112.08679.

    Departs from SimGCL: the noise comes after the graph, not at each of its layers.
    """

    needs_negatives = False

    def __init__(
        self,
        strength: float = 0.1,
        temperature: float = 0.2,
        weight: float = 1e-2,
        schedule: Schedule = "constant",
    ) -> None:
        super().__init__(weight, schedule)
        if not strength > 0:
            raise ConfigError(f"PerturbedViews: strength is {strength}; expected a number above 0.")
        self.strength, self.temperature = strength, Temperature(temperature, learnable=False)

    def forward(
        self, model: RecommendationModel, batch: RankingBatch, output: RankingOutput
    ) -> dict[str, Tensor]:
        """``users`` and ``items``."""
        scale = self.temperature()
        sides = {
            "users": output.users[distinct_users(batch)],
            "items": output.items[distinct_items(batch), 0],
        }
        return {name: info_nce(self.view(x), self.view(x), scale) for name, x in sides.items()}

    def view(self, x: Tensor) -> Tensor:
        """Vectors with noise, of unit length.

        Shape:
            x (n, D) -> (n, D)
        """
        length = torch.linalg.vector_norm(x.detach(), dim=1, keepdim=True)
        noise = x.detach().sign() * unit(torch.rand_like(x))
        return unit(x + self.strength * length * noise)
