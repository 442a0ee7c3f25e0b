"""SupervisedTask: classification and regression, one target or several, under Lightning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from mmfuse.batch import Batch
from mmfuse.encoder import Encoder
from mmfuse.fusion.base import Fusion
from mmfuse.model import FusionModel
from mmfuse.objectives import Objective, SupervisedLoss
from mmfuse.recorded import describe, rebuild
from mmfuse.spec import ModalitySpec
from mmfuse.tasks.base import FusionTask
from mmfuse.tasks.optimizer import adamw
from mmfuse.tasks.scores import Scores


class SupervisedTask(FusionTask):
    """Trains a FusionModel on whatever targets the data has.

    The model is built when the data is known: widths and classes come from the
    DataModule's ``DataSpec``, and nobody types them.

    Args:
        encoders: for each modality an encoder class, a partial of one, its name, or a
            mapping with ``class_path`` and ``init_args``. None takes the default of each
            modality's kind. The order is the fusion order.
        fusion: a fusion module, given in the same ways; ``SequentialFusion`` by default.
        objectives: losses added to ``SupervisedLoss``; name that one yourself to change
            its weight. Data without a target train on the others alone.
        optimizer: makes the optimizer from the parameters.
        scheduler: makes a learning-rate scheduler from the optimizer, stepped every epoch.
        modality_dropout: rate with which a training row loses each modality, drawn anew
            every epoch; a row keeps at least one.
        dropout_seed: seed of those draws.

    Raises:
        UnknownModalityError, ConfigError: at set-up, when the model does not fit the data.
    """

    def __init__(
        self,
        encoders: dict[str, Callable[[ModalitySpec], Encoder]] | None = None,
        fusion: Callable[[dict[str, int]], Fusion] | None = None,
        objectives: list[Objective] | None = None,
        optimizer: OptimizerCallable = adamw,
        scheduler: LRSchedulerCallable | None = None,
        modality_dropout: float = 0.0,
        dropout_seed: int = 0,
    ) -> None:
        terms = list(objectives or [])
        if not any(isinstance(o, SupervisedLoss) for o in terms):
            terms.insert(0, SupervisedLoss())
        # As a default of the argument, the command line would mix its options into another's.
        chosen: Any = "SequentialFusion" if fusion is None else fusion
        super().__init__(
            encoders, chosen, terms, optimizer, scheduler, modality_dropout, dropout_seed
        )

    def fresh(self, fusion: Any = None) -> SupervisedTask:
        """An untrained task with the same settings and, if given, another fusion."""
        return SupervisedTask(
            self._encoders,
            self._fusion if fusion is None else fusion,
            [rebuild(describe(o)) for o in self._terms],
            self._optimizer,
            self._scheduler,
            **self._dropout_arguments(),
        )

    def build(self, model: FusionModel) -> None:
        """Takes ``model`` for its own and lets the objectives make what they need."""
        others = [o for o in self._terms if not isinstance(o, SupervisedLoss)]
        if others and not model.spec.targets:
            self.objectives = nn.ModuleList(others)
        super().build(model)

    def prepare_scores(self, model: FusionModel) -> None:
        """Metrics of every target."""
        self._metrics = {split: Scores.metrics(model.spec, split) for split in ("val", "test")}

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Row numbers, and for each target probabilities or values."""
        assert self.model is not None
        output = self.model(batch)
        targets = self.model.spec.targets
        return {
            "row": batch.index,
            **{t: targets[t].predict(logits) for t, logits in output.logits.items()},
        }

    def _score(self, batch: Batch, split: str) -> None:
        step = self.losses(batch)
        self._metrics[split].update(step.output, batch, step.total)

    def _log_scores(self, split: str) -> None:
        scores = self._metrics[split].compute(self.device)
        self.log_dict(scores, prog_bar=split == "val", sync_dist=False)
