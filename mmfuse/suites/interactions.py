"""Interactions: what each modality is worth row by row, and two together."""

from __future__ import annotations

from mmfuse.data import FusionDataModule
from mmfuse.errors import ConfigError
from mmfuse.model import FusionModel
from mmfuse.robustness.interactions.evaluate import evaluate_interactions, scored_targets, steps
from mmfuse.robustness.interactions.result import InteractionResult
from mmfuse.suites.base import Setting, Suite


class Interactions(Suite):
    """Tells why modalities matter: their importance, interactions, and information in bits.

    Importance of each modality on average over rows (the score MIS, Banzhaf and Shapley values,
    permuted), the Shapley interaction of every two, the types of rows, and the partial information
    decomposition of two modalities' encodings and the label.

    Args:
        rows: at most so many rows are read, drawn by the seed.
        clusters: of each modality's encodings, for the decomposition.
        pairs: at most so many pairs of modalities are decomposed.

    Raises:
        ConfigError: fewer rows, clusters or pairs than 1.
    """

    name = "interactions"

    def __init__(self, rows: int = 5000, clusters: int = 20, pairs: int = 15) -> None:
        if min(rows, clusters, pairs) < 1:
            raise ConfigError(
                f"Interactions: found {rows} rows, {clusters} clusters and {pairs} pairs; expected "
                "1 up."
            )
        self.rows, self.clusters, self.pairs = rows, clusters, pairs

    def check(self, model: FusionModel, data: FusionDataModule) -> None:
        """Refuses a model whose rows have no scores of their own.

        Raises:
            ConfigError: it predicts survival alone, or nothing.
        """
        scored_targets(model)

    def run(self, setting: Setting) -> InteractionResult:
        """The tables of all targets."""
        model = setting.model.to(setting.device)
        setting.tell("interactions", steps(model))
        return evaluate_interactions(
            model,
            setting.sample(self.rows),
            clusters=self.clusters,
            pairs=self.pairs,
            bootstrap=setting.bootstrap,
            seed=setting.seed,
            progress=lambda: setting.tell(None, None),
        )
