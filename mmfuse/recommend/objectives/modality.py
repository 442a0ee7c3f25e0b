"""ModalityBPR: each modality alone should rank, too."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from mmfuse.errors import ConfigError
from mmfuse.objectives.base import Schedule
from mmfuse.recommend.batch import RankingBatch
from mmfuse.recommend.model import RankingOutput, RecommendationModel
from mmfuse.recommend.objectives.base import RankingObjective
from mmfuse.recommend.objectives.pairs import pairwise
from mmfuse.recommend.scores import dots


class ModalityBPR(RankingObjective):
    """BPR between the users' vectors and what each modality's encoder makes of the items.

    ::

        L = sum_m mean over pairs whose items both have m of
            -log sigmoid(x_u . z_i^m - x_u . z_j^m)

    z^m is the encoder's mean token. An encoder whose width is not the users' is mapped to it.

    Args:
        weight: lambda, the factor in the sum.
        schedule: how the factor moves over training progress.

    Raises:
        ConfigError: at ``build``, items without modalities.

    Reference: Zhou and Shen, "A Tale of Two Graphs: Freezing and Denoising Graph Structures for
        Multimodal Recommendation" (FREEDOM), 2023, arXiv:2211.06924, equation 10.

    Departs from the paper: an item that lacks a modality takes no part in its term.
    """

    reads_content = True

    def __init__(self, weight: float = 1e-3, schedule: Schedule = "constant") -> None:
        super().__init__(weight, schedule)

    def build(self, model: RecommendationModel) -> None:
        """Maps for encoders of another width."""
        self.project = nn.ModuleDict(maps(model, "ModalityBPR"))

    def forward(
        self, model: RecommendationModel, batch: RankingBatch, output: RankingOutput
    ) -> dict[str, Tensor]:
        """The loss of each modality, by its name."""
        assert output.content is not None
        assert output.places is not None
        found = {}
        for m, (vectors, here) in modality_vectors(model, output, self.project).items():
            items, there = F.embedding(output.places, vectors), here[output.places]
            losses = pairwise(dots(output.users, items))
            valid = there[:, :1] & there[:, 1:]
            found[m] = losses.masked_fill(~valid, 0).sum() / valid.sum().clamp(min=1)
        return found


def maps(model: RecommendationModel, name: str) -> dict[str, nn.Module]:
    """A linear map for each modality whose encoder has another width than the users.

    Raises:
        ConfigError: items have no modalities.
    """
    if model.tower is None:
        raise ConfigError(
            f"{name} reads the items' modalities, and they have none. Give RecommendationData "
            "items, or leave the objective out."
        )
    width = model.item.out_dim
    return {m: nn.Linear(d, width) for m, d in model.tower.dims.items() if d != width}


def modality_vectors(
    model: RecommendationModel, output: RankingOutput, project: nn.ModuleDict
) -> dict[str, tuple[Tensor, Tensor]]:
    """For each modality the vectors ``(n, D)`` of the batch's distinct items, and who has it."""
    assert model.tower is not None
    assert output.content is not None
    found = {}
    for i, m in enumerate(model.tower.modalities):
        if m in output.content.tokens:
            vectors = output.content.tokens[m].pooled()
            vectors = project[m](vectors) if m in project else vectors
            found[m] = vectors, output.content.present[:, i]
    return found
