"""MultimodalContrast: what a user or an item is in one modality, and in another, lie close."""

from __future__ import annotations

from itertools import combinations

from torch import Tensor

from mmfuse.errors import ConfigError
from mmfuse.objectives.base import Schedule
from mmfuse.objectives.contrastive import Temperature, info_nce, unit
from mmfuse.recommend.batch import RankingBatch
from mmfuse.recommend.model import RankingOutput, RecommendationModel
from mmfuse.recommend.objectives.base import RankingObjective
from mmfuse.recommend.objectives.batch_rows import distinct_items, distinct_users


class MultimodalContrast(RankingObjective):
    """InfoNCE between the modalities' blocks of final vectors, over users and over items.

    With x = [... ; x^1 ; ... ; x^M ; ...] as ``SideBySideFusion`` and ``FeatureAttentionFusion``
    lay modalities out, for each pair (a, b) of them::

        L_ab = InfoNCE(x_u^a, x_u^b; tau) + InfoNCE(x_i^a, x_i^b; tau)

    over the batch's distinct users, and its distinct observed items that have both. For items
    without users, ``CLIPLoss`` compares what the encoders give, of any model.

    Args:
        temperature: tau, from 0.01 to 1.
        start: where x^1 starts in the final vectors; by default behind the id. A backbone that
            lays vectors out anew, such as ``SharedKnowledge``, moves it to 0.
        weight: factor in the sum.
        schedule: how the factor moves over training progress.

    Raises:
        ConfigError: a temperature outside its range, a start below 0; at ``build``, vectors
            without blocks of one width for two modalities or more.

    Reference: "Refining contrastive learning and homography relations for multi-modal
        recommendation" (REARM), 2025, arXiv:2508.13745.

    Departs from the paper: both directions of InfoNCE; an item that lacks one of two modalities
    takes no part in their comparison.
    """

    reads_content, reads_drawn = True, False
    needs_negatives = False

    def __init__(
        self,
        temperature: float = 0.2,
        start: int | None = None,
        weight: float = 1e-3,
        schedule: Schedule = "constant",
    ) -> None:
        super().__init__(weight, schedule)
        if start is not None and start < 0:
            raise ConfigError(f"MultimodalContrast: start is {start}; expected a place from 0.")
        self.start = start
        self.temperature = Temperature(temperature, learnable=False)

    def build(self, model: RecommendationModel) -> None:
        """Finds the blocks."""
        fusion = None if model.tower is None else model.tower.fusion
        blocks: dict[str, slice] = getattr(fusion, "blocks", {})
        behind_id = model.item.out_dim - max((b.stop for b in blocks.values()), default=0)
        if (
            len(blocks) < 2
            or len({b.stop - b.start for b in blocks.values()}) > 1
            or model.item.content == "none"
            or (model.item.content == "add" and behind_id)
        ):
            raise ConfigError(
                "MultimodalContrast compares blocks of final vectors, one block a modality. Let "
                "the fusion be SideBySideFusion over encoders of one width, or "
                "FeatureAttentionFusion, of two modalities at least, and ItemVectors' content "
                "concat (or add, with as wide an id); or give CLIPLoss, which compares what the "
                "encoders give."
            )
        self._start, self._blocks = behind_id if self.start is None else self.start, blocks

    def forward(
        self, model: RecommendationModel, batch: RankingBatch, output: RankingOutput
    ) -> dict[str, Tensor]:
        """``users_<a>_<b>`` and ``items_<a>_<b>`` for each pair of modalities."""
        assert output.content is not None
        assert output.places is not None
        scale, rows = self.temperature(), distinct_items(batch)
        users = self._split(output.users[distinct_users(batch)])
        items = self._split(output.items[rows, 0])
        present = output.content.present[output.places[rows, 0]]
        found = {}
        for (i, a), (j, b) in combinations(enumerate(self._blocks), 2):
            both = present[:, i] & present[:, j]
            found[f"users_{a}_{b}"] = info_nce(users[a], users[b], scale)
            found[f"items_{a}_{b}"] = info_nce(items[a], items[b], scale, valid=both)
        return found

    def _split(self, x: Tensor) -> dict[str, Tensor]:
        own = x[:, self._start :]
        return {m: unit(own[:, block]) for m, block in self._blocks.items()}
