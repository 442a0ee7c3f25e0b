"""FusionTask: what every task shares, from set-up over the sum of objectives to checkpoints."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.checkpoint import describe_run, described, read, require_same_model, whole
from mmfuse.data import FusionDataModule
from mmfuse.encoder import Encoder
from mmfuse.errors import ConfigError
from mmfuse.fusion.base import Fusion
from mmfuse.missing import ModalityDropout
from mmfuse.model import FusionModel, Output, Towers
from mmfuse.objectives import Objective
from mmfuse.recorded import class_path, describe, in_words
from mmfuse.spec import DataSpec, ModalitySpec
from mmfuse.tasks.build import build_encoders, build_model
from mmfuse.tasks.dropping import thinned
from mmfuse.tasks.learned_terms import evaluated_state, require_same_terms
from mmfuse.tasks.start import starting_spec, take_weights
from mmfuse.tasks.trained import TrainedTask
from mmfuse.tasks.unreadable import Unreadable
from mmfuse.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Step:
    """What a task made of one batch.

    Args:
        total: the weighted sum of all losses, which training lowers.
        named: every loss by its name, unweighted.
        tokens: what the encoders gave.
        output: what fusion and heads made of them.
    """

    total: Tensor
    named: dict[str, Tensor]
    tokens: dict[str, Tokens]
    output: Output


class FusionTask(TrainedTask, ABC):
    """Base of the tasks that train a FusionModel with a sum of objectives.

    The model is built when the data is known: widths and classes come from the
    DataModule's ``DataSpec``, and nobody types them. How objectives count is said in
    ``TrainedTask``.

    Args:
        encoders: for each modality an encoder class, a partial of one, its name, or a
            mapping with ``class_path`` and ``init_args``. None takes the default of each
            modality's kind. The order is the fusion order.
        fusion: a fusion module, given in the same ways.
        objectives: what training lowers the sum of.
        optimizer: makes the optimizer from the parameters.
        scheduler: makes a learning-rate scheduler from the optimizer, stepped every epoch.
        modality_dropout: rate with which a training row loses each modality, drawn anew
            every epoch; a row keeps at least one.
        dropout_seed: seed of those draws.
    """

    def __init__(
        self,
        encoders: dict[str, Callable[[ModalitySpec], Encoder]] | None,
        fusion: Callable[[dict[str, int]], Fusion],
        objectives: list[Objective],
        optimizer: OptimizerCallable,
        scheduler: LRSchedulerCallable | None,
        modality_dropout: float,
        dropout_seed: int,
    ) -> None:
        super().__init__(objectives, optimizer, scheduler)
        self._encoders, self._fusion = encoders, fusion
        self.modality_dropout = (
            ModalityDropout(modality_dropout, seed=dropout_seed) if modality_dropout else None
        )
        self.model: FusionModel | None = None
        self._unreadable = Unreadable()

    @property
    def _terms(self) -> list[Objective]:
        return cast(list[Objective], list(self.objectives))

    def settings(self) -> dict[str, Any]:
        """Everything the task was given, in plain data, for a record of the run."""
        return {
            "encoders": {m: in_words(e) for m, e in (self._encoders or {}).items()},
            "fusion": in_words(self._fusion),
            "objectives": [describe(o) for o in self._terms],
            "optimizer": in_words(self._optimizer),
            "scheduler": in_words(self._scheduler),
            "modality_dropout": describe(self.modality_dropout) if self.modality_dropout else None,
        }

    def _dropout_arguments(self) -> dict[str, Any]:
        dropout = self.modality_dropout
        if dropout is None:
            return {}
        return {"modality_dropout": dropout.rate, "dropout_seed": dropout.seed}

    # Set-up: the one place where data and model meet.

    def setup(self, stage: str) -> None:
        """Builds the model from the data's spec, and gives the data the preprocessing."""
        data = getattr(self.trainer, "datamodule", None)
        if data is None:
            raise ConfigError(
                "The task has no DataModule. Give the Trainer one, such as "
                "trainer.fit(task, datamodule=ArrayData(inputs, target)), not loaders."
            )
        if self.model is None:
            self.build(self.make_model(data.spec, data.cached))
        else:
            self.prepare_scores(self.model)
        assert self.model is not None
        data.attach(self.model.preprocess)

    def make_model(self, spec: DataSpec, cached: Mapping[str, str]) -> FusionModel:
        """A fresh model for what the data looks like; see ``build_model``."""
        return build_model(spec, self._encoders, self._fusion, cached)

    @abstractmethod
    def prepare_scores(self, model: FusionModel) -> None:
        """Makes what gathers the scores of validation and test."""

    def towers(self, spec: DataSpec) -> Towers:
        """The encoders that this task names, for what the data looks like."""
        return Towers(spec, build_encoders(spec, self._encoders))

    def build(self, model: FusionModel) -> None:
        """Takes ``model`` for its own and lets the objectives make what they need."""
        self.model = model
        for objective in self._terms:
            objective.build(model)
        self.prepare_scores(model)

    def start_from(self, source: FusionModel | str | Path, data: FusionDataModule) -> list[str]:
        """Takes the weights of a model that was trained before, to train them further.

        The data take its statistics and levels. Heads of targets that it does not predict, or
        predicts with other classes, start afresh, as does what objectives learn.

        Args:
            source: the model, or the path of its checkpoint.
            data: what to train on next.

        Returns:
            the targets whose heads start afresh.

        Raises:
            MissingFileError, CheckpointError: there is no checkpoint, or it is of other
                encoders or of another fusion, naming what differs.
        """
        content = whole(source) if isinstance(source, FusionModel) else read(source)
        name = "The model" if isinstance(source, FusionModel) else str(source)
        model_of = described(content, name)
        spec, new_heads = starting_spec(DataSpec.from_dict(model_of["spec"]), data.spec)
        if "heads" in model_of:  # it predicts nothing
            new_heads = list(spec.targets)
        data.adopt(spec)
        model = self.make_model(data.spec, data.cached)
        take_weights(model, content, new_heads, name)
        self.build(model)
        return new_heads

    def teardown(self, stage: str) -> None:
        """Tells, once, which rows could not be read."""
        self._unreadable.tell()

    # Steps.

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Modality dropout, on the CPU, before the encoders see the rows; bad rows are counted."""
        self._unreadable.add(batch.problems)
        if self.modality_dropout is None or not self.trainer.training:
            return batch
        return thinned(batch, self.modality_dropout, self.current_epoch)

    def forward(self, batch: Batch) -> Output:
        """The model's output for a batch."""
        assert self.model is not None
        return self.model(batch)

    def losses(self, batch: Batch) -> Step:
        """Every loss of a batch, and their weighted sum."""
        model = self.model
        assert model is not None
        present = model.present(batch)
        tokens = model.encode(batch)
        output = model.read(model.fuse(tokens, present), present)
        named: dict[str, Tensor] = {}
        terms: list[Tensor] = []
        for objective, factor in self._counting():
            for name, value in objective(model, batch, tokens, output).items():
                named[f"{type(objective).__name__}/{name}"] = value
                terms.append(factor * value)
        for name, value in output.fused.losses.items():
            named[f"{type(model.fusion).__name__}/{name}"] = value
            terms.append(value)
        reaches = any(t.requires_grad for t in terms)
        if self.training and (not reaches or self.trainer.world_size > 1):
            # A batch with nothing to learn from is a step without effect. Processes sum their
            # gradients parameter by parameter, and would wait for those that this one lacks.
            terms.append(self._nothing())
        total = sum(terms[1:], terms[0]) if terms else output.fused.vector.new_zeros(())
        return Step(total, named, tokens, output)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One step; losses are summed on the device and logged once an epoch."""
        step = self.losses(batch)
        self._losses.add({"loss": step.total, **step.named}, len(batch))
        return step.total

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Scores a validation batch."""
        self._score(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Scores a test batch."""
        self._score(batch, "test")

    def on_validation_epoch_end(self) -> None:
        """Logs the validation scores."""
        self._log_scores("val")

    def on_test_epoch_end(self) -> None:
        """Logs the test scores."""
        self._log_scores("test")

    @abstractmethod
    def _score(self, batch: Batch, split: str) -> None:
        """Takes a batch of ``val`` or ``test``."""

    @abstractmethod
    def _log_scores(self, split: str) -> None:
        """Logs what the batches amount to, the same in every process."""

    # Checkpoints: plain data only, so that they load without unpickling.

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what ``mmfuse.load`` needs to build the model anew."""
        assert self.model is not None
        checkpoint["mmfuse"] = describe_run(
            self.model,
            objectives=self._terms,
            missing=getattr(self.trainer.datamodule, "missing", None),  # type: ignore[attr-defined]
            modality_dropout=self.modality_dropout,
        )

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Takes the checkpoint's model, after checking that it is the same architecture.

        To score and to predict the task may have other objectives than the checkpoint's run.

        Raises:
            CheckpointError: the checkpoint is of another model, naming what differs; or a run is
                to go on, and its objectives learned other things than the task's.
        """
        if self.model is None:
            self.build(FusionModel.rebuild(described(checkpoint, "The checkpoint")))
            return
        self.build(require_same_model(self.model, checkpoint).to(self.device))
        if "loops" in checkpoint and self.trainer.state.fn == "fit":
            require_same_terms(self.state_dict(), checkpoint)
            return
        terms = [class_path(type(o)) for o in self._terms]
        state = evaluated_state(self.state_dict(), terms, checkpoint)
        checkpoint["state_dict"].clear()
        checkpoint["state_dict"].update(state)
