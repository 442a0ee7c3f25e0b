"""AnchorAlignment: what an item looks like is drawn to what people do with it, in two steps."""

from __future__ import annotations

from torch import Tensor, nn

from mmfuse.errors import ConfigError
from mmfuse.objectives.base import Schedule
from mmfuse.objectives.contrastive import Temperature, info_nce, unit
from mmfuse.recommend.batch import RankingBatch
from mmfuse.recommend.model import RankingOutput, RecommendationModel
from mmfuse.recommend.objectives.base import RankingObjective
from mmfuse.recommend.objectives.batch_rows import distinct_items
from mmfuse.recommend.objectives.modality import maps, modality_vectors


class AnchorAlignment(RankingObjective):
    """First each modality meets behaviour as a fixed anchor, then behaviour and fusion meet.

    ::

        L = sum_m InfoNCE(z_i^m -> sg x_i; tau)  +  beta InfoNCE(c_i <-> x_i; tau)

    over the batch's distinct observed items: x_i is the final vector, sg stops its gradient, z^m
    is what the encoder of m makes of the item, c_i what the fusion makes. An arrow to one side
    asks to find the second of the first alone.

    Args:
        temperature: tau, from 0.01 to 1.
        fused_weight: beta, 0 or more.
        weight: factor in the sum.
        schedule: how the factor moves over training progress.

    Raises:
        ConfigError: a temperature outside its range, a factor below 0; at ``build``, items without
            modalities.

    Reference: "Semantic Item Graph Enhancement for Multimodal Recommendation" (CEAA), 2025,
        arXiv:2508.06154. No code was found; what the abstract leaves open is ours.

    Departs from the paper: an item that lacks a modality takes no part in its term, and one
    without any takes no part at all.
    """

    reads_content, reads_drawn = True, False
    needs_negatives = False

    def __init__(
        self,
        temperature: float = 0.2,
        fused_weight: float = 1.0,
        weight: float = 1e-2,
        schedule: Schedule = "constant",
    ) -> None:
        super().__init__(weight, schedule)
        if not fused_weight >= 0:
            raise ConfigError(f"AnchorAlignment: fused_weight is {fused_weight}; expected 0 up.")
        self.temperature = Temperature(temperature, learnable=False)
        self.fused_weight = fused_weight

    def build(self, model: RecommendationModel) -> None:
        """Maps for encoders and a fusion of another width."""
        self.project = nn.ModuleDict(maps(model, "AnchorAlignment"))
        assert model.tower is not None
        width, fused = model.item.out_dim, model.tower.fusion.out_dim
        self.fused = nn.Identity() if fused == width else nn.Linear(fused, width)

    def forward(
        self, model: RecommendationModel, batch: RankingBatch, output: RankingOutput
    ) -> dict[str, Tensor]:
        """``anchor_<m>`` for each modality, and ``fused``."""
        assert output.content is not None
        assert output.places is not None
        rows, scale = distinct_items(batch), self.temperature()
        mine = output.places[rows, 0]
        behaviour = unit(output.items[rows, 0])
        anchor, found = behaviour.detach(), {}
        for m, (vectors, here) in modality_vectors(model, output, self.project).items():
            z = unit(vectors[mine])
            found[f"anchor_{m}"] = info_nce(z, anchor, scale, valid=here[mine], directions=(1, 0))
        if self.fused_weight:
            anything = output.content.present[mine].any(dim=1)
            fused = unit(self.fused(output.content.vector[mine]))
            loss = info_nce(fused, behaviour, scale, valid=anything)
            found["fused"] = self.fused_weight * loss
        return found
