"""AlignmentTask: modalities learn to share a space, and are scored by finding each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable

from mmfuse.batch import Batch
from mmfuse.data import FusionDataModule
from mmfuse.encoder import Encoder
from mmfuse.errors import ConfigError, DataError
from mmfuse.fusion.base import Fusion
from mmfuse.model import FusionModel
from mmfuse.objectives import CLIPLoss, Objective, SupervisedLoss
from mmfuse.recorded import factory
from mmfuse.retrieval.labels import Labels
from mmfuse.spec import DataSpec, ModalitySpec
from mmfuse.tasks.alignment_scores import AlignmentScores
from mmfuse.tasks.base import FusionTask
from mmfuse.tasks.build import encoders_for, fused
from mmfuse.tasks.optimizer import adamw


@dataclass(frozen=True)
class SpaceHead:
    """The head that maps each modality into the shared space: a perceptron a modality.

    Args:
        out_dim: width of the space.
        hidden: widths of hidden layers; none makes it one linear map.
        dropout: rate after every hidden layer.
    """

    out_dim: int = 64
    hidden: tuple[int, ...] = ()
    dropout: float = 0.0


class AlignmentTask(FusionTask):
    """Trains encoders into one space, in which a row's modalities lie close to each other.

    The model predicts no target; its encoders' vectors are what it is for. ``mmfuse extract``
    writes them, ``mmfuse search`` finds across modalities, ``mmfuse retrieve`` measures it. The
    fused vector is the mean direction of the modalities that a row has.

    Validation and test put every row's vectors side by side and log, for each direction such as
    ``val/image_to_text/``: ``r_at_1``, ``r_at_5``, ``r_at_10``, ``median_rank``, ``mean_rank``
    and ``mrr`` of a row's own partner among all; ``map``, where the data has classes, of all
    items of the query's class. Their means over directions are ``val/r_at_1`` and so on. Where
    there is text, ``val/zero_shot/<modality>`` is the share of rows whose class's name is
    nearest.

    Args:
        encoders: as for ``SupervisedTask``. Without ``head`` all must have one ``out_dim``.
        objectives: contrastive losses; ``CLIPLoss`` alone by default.
        head: put a head on every encoder, as ``ProjectedEncoder`` does: for encoders of unequal
            widths, and frozen or cached ones, of which it is all that learns.
        target: whose classes serve ``map`` and the zero-shot score; the first target with
            classes by default. They are not trained on, unless an objective reads them.
        templates: texts with ``{}`` in the place of a class's name; the name alone by default.
        class_names: what a class is called in them; its name with spaces for underscores by
            default.
        joint: the fusion whose vector stands for a row's modalities together, given as for
            ``SupervisedTask``. Only an objective that reads that vector trains it.
        optimizer: makes the optimizer from the parameters.
        scheduler: makes a learning-rate scheduler from the optimizer, stepped every epoch.
        modality_dropout: rate with which a training row loses each modality.
        dropout_seed: seed of those draws.

    Raises:
        ConfigError: an objective that needs a prediction; at set-up, widths that differ, one
            modality alone, or a target, template or class name that does not fit.
        DataError: at set-up, no training row has two modalities.
        UnknownModalityError: at set-up, encoders and data name different modalities.

    Example:
        >>> import numpy as np
        >>> from mmfuse import ArrayData, Trainer
        >>> hidden = np.random.default_rng(0).normal(size=(60, 3))
        >>> data = ArrayData({"a": hidden @ np.ones((3, 5)) + hidden[:, :1], "b": hidden})
        >>> trainer = Trainer(max_epochs=1, logger=False, enable_progress_bar=False,
        ...                   enable_checkpointing=False)
        >>> trainer.fit(AlignmentTask(), datamodule=data)
        >>> "val/a_to_b/r_at_1" in trainer.callback_metrics
        True
    """

    def __init__(
        self,
        encoders: dict[str, Callable[[ModalitySpec], Encoder]] | None = None,
        objectives: list[Objective] | None = None,
        head: SpaceHead | None = None,
        target: str | None = None,
        templates: list[str] | None = None,
        class_names: dict[str, str] | None = None,
        joint: Callable[[dict[str, int]], Fusion] = "UnitMeanFusion",  # type: ignore[assignment]
        optimizer: OptimizerCallable = adamw,
        scheduler: LRSchedulerCallable | None = None,
        modality_dropout: float = 0.0,
        dropout_seed: int = 0,
    ) -> None:
        terms: list[Objective] = [CLIPLoss()] if objectives is None else list(objectives)
        if not terms or any(isinstance(o, SupervisedLoss) for o in terms):
            raise ConfigError(
                f"objectives are {[type(o).__name__ for o in terms]}; expected contrastive ones. "
                "To predict a target beside them, take SupervisedTask with the same objectives."
            )
        super().__init__(
            encoders, joint, terms, optimizer, scheduler, modality_dropout, dropout_seed
        )
        self.head, self.labels = head, Labels(target, templates, class_names)

    def settings(self) -> dict[str, Any]:
        """Everything the task was given, in plain data, for a record of the run."""
        head = asdict(self.head) if self.head else None
        return super().settings() | {"head": head, **asdict(self.labels)}

    # Set-up.

    def setup(self, stage: str) -> None:
        """Builds the model; refuses data in which there is nothing to align.

        Raises:
            ConfigError: ``predict``, as there is nothing that it predicts.
        """
        if stage == "predict":
            raise ConfigError(
                "An AlignmentTask predicts no target. Write its vectors with extract, or measure "
                "how they find each other with retrieve."
            )
        super().setup(stage)
        if stage == "fit":
            data: FusionDataModule = self.trainer.datamodule  # type: ignore[attr-defined]
            present = data.dataset("train").present[data.rows("train")]
            if not (present.sum(dim=1) > 1).any():
                raise DataError(
                    f"No training row has two of {list(data.spec.modalities)}; there is nothing "
                    "to align. Give rows that pair modalities."
                )

    def make_model(self, spec: DataSpec, cached: Mapping[str, str]) -> FusionModel:
        """Encoders, with heads if asked for, in one space; no target is predicted."""
        built = encoders_for(spec, self._encoders, cached)
        if self.head is not None:
            built = {m: _projected(e, self.head) for m, e in built.items()}
        widths = {m: e.out_dim for m, e in built.items()}
        if len(widths) < 2:
            raise ConfigError(f"The data has {list(widths)} alone; an alignment takes two or more.")
        if len(set(widths.values())) > 1:
            raise ConfigError(
                f"The encoders give {widths}; a shared space has one width. Give them one out_dim, "
                "or the task a head."
            )
        return FusionModel(spec, built, fused(self._fusion, widths), heads={})

    def prepare_scores(self, model: FusionModel) -> None:
        """Vectors are gathered over a whole split."""
        self.labels.check(model)
        self._found = {split: AlignmentScores(model, self.labels) for split in ("val", "test")}

    # Steps.

    def _score(self, batch: Batch, split: str) -> None:
        step = self.losses(batch)
        self._found[split].add(batch, step.tokens, step.total)

    def _log_scores(self, split: str) -> None:
        scores = self._found[split].compute()
        shown = {"loss", "r_at_1", "map"} if split == "val" else set()
        for name, value in scores.items():
            self.log(f"{split}/{name}", value, prog_bar=name in shown, sync_dist=False)


def _projected(encoder: Encoder, head: SpaceHead) -> Encoder:
    projected = factory(Encoder, "ProjectedEncoder")
    around: Callable[..., Encoder] = projected.around  # type: ignore[attr-defined]
    return around(encoder, head.out_dim, head.hidden, head.dropout)
