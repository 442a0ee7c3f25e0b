"""RankedTask: what a recommender is worth, from rankings of all items in validation and test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from mmfuse.data.datamodule import Split
from mmfuse.errors import ConfigError
from mmfuse.recommend.data import RecommendationData
from mmfuse.recommend.model import RecommendationModel
from mmfuse.recommend.outputs import Represented
from mmfuse.recommend.ranking import KS
from mmfuse.recommend.ranking.per_user import write_per_user
from mmfuse.tasks.logged import log_all
from mmfuse.tasks.ranked import RankedSplit
from mmfuse.tasks.remembered import Remembered
from mmfuse.tasks.trained import TrainedTask


class RankedTask(TrainedTask):
    """Base of ``RecommendationTask``: validation and test, a block of users at a time.

    Args:
        terms: what training lowers the sum of.
        optimizer: makes the optimizer from the parameters.
        scheduler: makes a learning-rate scheduler from the optimizer.
        ks: where rankings are measured; None for those of every ranking.

    Raises:
        ConfigError: no k, or one below 1.
    """

    def __init__(
        self,
        terms: list[Any],
        optimizer: OptimizerCallable,
        scheduler: LRSchedulerCallable | None,
        ks: list[int] | None,
    ) -> None:
        super().__init__(terms, optimizer, scheduler)
        self.ks = tuple(sorted(set(KS if ks is None else ks)))
        if not self.ks or min(self.ks) < 1:
            raise ConfigError(f"ks are {list(self.ks)}; expected whole numbers from 1 up.")
        self.best = (f"val/recall_at_{self._main}", "max")
        self.model: RecommendationModel | None = None
        self._ranked: RankedSplit | None = None
        self._remembered = Remembered()

    @property
    def _data(self) -> RecommendationData:
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, RecommendationData):
            raise ConfigError(
                "RecommendationTask reads RecommendationData; found "
                f"{type(data).__name__}. Give the Trainer one as its datamodule."
            )
        return data

    def on_validation_epoch_start(self) -> None:
        """Makes the vectors of all, once."""
        self._ranked = self._ranking("val")

    def on_test_epoch_start(self) -> None:
        """Makes the vectors of all, once."""
        self._ranked = self._ranking("test")

    def _ranking(self, split: Literal["val", "test"]) -> RankedSplit:
        assert self.model is not None
        return RankedSplit(self.model, self._data, split, self.ks, self._vectors(split))

    def _vectors(self, split: Split = "train") -> Represented:
        """The final vectors of all, once for a state of the weights."""
        model = self.model
        assert model is not None
        # Validation sees items and users as training does.
        name = "vectors in test" if split == "test" else "vectors"
        return self._remembered.of(model, name, lambda: model.represent(split=split))

    def on_fit_end(self) -> None:
        """Lets go of what was made of the weights."""
        self._remembered.forget()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """Ranks for a block of users."""
        assert self._ranked is not None
        self._ranked.add(batch)

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        """Ranks for a block of users."""
        assert self._ranked is not None
        self._ranked.add(batch)

    def on_validation_epoch_end(self) -> None:
        """Logs the means over users, and the loss."""
        ranked, self._ranked = self._ranked, None
        assert ranked is not None
        scores = ranked.evaluation(self.trainer.world_size).means() | {"loss": ranked.loss()}
        self._log(scores, "val", {"loss", f"recall_at_{self._main}"})

    def on_test_epoch_end(self) -> None:
        """Logs the means over users, the main ones of kinds of items, and what is shown."""
        ranked, self._ranked = self._ranked, None
        assert ranked is not None
        found = ranked.evaluation(self.trainer.world_size)
        assert found.exposure is not None
        scores = found.means() | found.exposure.scores(self._data.interactions.lists("train"))
        main = (f"recall_at_{self._main}", f"ndcg_at_{self._main}", "users")
        for kind, metrics in found.means_of_items().items():
            if metrics["users"]:  # else there is nothing to take a mean of
                scores |= {f"{kind}/{name}": metrics[name] for name in main}
        self._log(scores, "test", set())
        if self.trainer.log_dir and self.trainer.is_global_zero and self.loggers:
            ids = self._data.interactions.user_ids
            write_per_user(found, ids, Path(self.trainer.log_dir) / "per_user.parquet")

    @property
    def _main(self) -> int:
        return 20 if 20 in self.ks else self.ks[0]

    def _log(self, scores: Mapping[str, float], split: str, shown: set[str]) -> None:
        named = {f"{split}/{name}": value for name, value in scores.items()}
        log_all(self, named, shown={f"{split}/{name}" for name in shown})
