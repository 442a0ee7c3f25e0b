"""Interactions: what each modality is worth row by row, and two together."""

from __future__ import annotations

from collections.abc import Sequence

from mmfuse.batch import Batch
from mmfuse.data import FusionDataModule
from mmfuse.errors import ConfigError
from mmfuse.model import FusionModel
from mmfuse.robustness.interactions.estimators import Estimator
from mmfuse.robustness.interactions.evaluate import (
    check_estimators,
    evaluate_interactions,
    scored_targets,
    steps,
)
from mmfuse.robustness.interactions.result import InteractionResult
from mmfuse.suites.base import Setting, Split, Suite


class Interactions(Suite):
    """Tells why modalities matter: their importance, interactions, and information in bits.

    Importance of each modality on average over rows (the score MIS, Banzhaf and Shapley values,
    permuted), the Shapley interaction of every two, the types of rows, and the partial information
    decomposition of two modalities' encodings and the label, for each row and on average.

    Args:
        rows: at most so many rows are read, drawn by the seed.
        clusters: of each modality's encodings, for the decomposition.
        pairs: at most so many pairs of modalities are decomposed.
        estimators: of the bits: ``clusters`` (counts of clusters of encodings), ``neural``
            (networks on the encodings, fitted to as many training rows and chosen by validation
            rows where there are some; the slowest by far), ``bounds`` (of synergy, from all rows
            that have one modality and a label, or both).

    Raises:
        ConfigError: fewer rows, clusters or pairs than 1, or unknown estimators.
    """

    name = "interactions"

    def __init__(
        self,
        rows: int = 5000,
        clusters: int = 20,
        pairs: int = 15,
        estimators: Sequence[Estimator] = ("clusters",),
    ) -> None:
        if min(rows, clusters, pairs) < 1:
            raise ConfigError(
                f"Interactions: found {rows} rows, {clusters} clusters and {pairs} pairs; expected "
                "1 up."
            )
        check_estimators(estimators)
        self.rows, self.clusters, self.pairs = rows, clusters, pairs
        self.estimators = list(estimators)

    def check(self, model: FusionModel, data: FusionDataModule) -> None:
        """Refuses a model whose rows have no scores of their own, and networks without rows to fit.

        Raises:
            ConfigError: it predicts survival alone, or nothing; or the data have no training rows.
        """
        scored_targets(model)
        if "neural" in self.estimators and not len(data.rows("train")):
            raise ConfigError(
                "Interactions fits its networks on training rows, and the data have none. Leave "
                "'neural' out of estimators, or give the data that the model was trained on."
            )

    def run(self, setting: Setting) -> InteractionResult:
        """The tables of all targets."""
        model = setting.model.to(setting.device)
        setting.tell("interactions", steps(model, self.pairs))
        return evaluate_interactions(
            model,
            setting.sample(self.rows),
            train=self._others(setting, "train"),
            val=self._others(setting, "val"),
            estimators=self.estimators,
            clusters=self.clusters,
            pairs=self.pairs,
            bootstrap=setting.bootstrap,
            seed=setting.seed,
            progress=lambda: setting.tell(None, None),
        )

    def _others(self, setting: Setting, split: Split) -> list[Batch]:
        """Rows of another split than the one studied, for networks."""
        if "neural" not in self.estimators or split == setting.split:
            return []
        return setting.sample(self.rows, split)
