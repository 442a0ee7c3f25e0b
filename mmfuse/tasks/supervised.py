"""SupervisedTask: classification and regression, one target or several, under Lightning."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from mmfuse.batch import Batch
from mmfuse.checkpoint import describe_run, read, require_same_model, whole
from mmfuse.data import FusionDataModule
from mmfuse.encoder import Encoder
from mmfuse.errors import ConfigError
from mmfuse.fusion.base import Fusion
from mmfuse.missing import ModalityDropout, RowFacts
from mmfuse.model import FusionModel, Output, Towers
from mmfuse.objectives import Objective, SupervisedLoss
from mmfuse.recorded import describe, in_words, rebuild
from mmfuse.spec import DataSpec, ModalitySpec
from mmfuse.tasks.build import build_encoders, build_model
from mmfuse.tasks.scores import Scores
from mmfuse.tasks.start import starting_spec, take_weights
from mmfuse.tasks.unreadable import Unreadable


def adamw(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer when none is named: AdamW, learning rate 1e-3, weight decay 1e-2.

    Fused: one kernel for all parameters, where torch's default on a CPU loops over them. It
    does not go with gradient clipping under ``precision="16-mixed"``; name another there.
    """
    return torch.optim.AdamW(parameters, lr=1e-3, weight_decay=1e-2, fused=True)


class SupervisedTask(L.LightningModule):
    """Trains a FusionModel on whatever targets the data has.

    The model is built when the data is known: widths and classes come from the
    DataModule's ``DataSpec``, and nobody types them.

    Args:
        encoders: for each modality an encoder class, a partial of one, its name, or a
            mapping with ``class_path`` and ``init_args``. None takes the default of each
            modality's kind. The order is the fusion order.
        fusion: a fusion module, given in the same ways.
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
        fusion: Callable[[dict[str, int]], Fusion] = "SequentialFusion",  # type: ignore[assignment]
        objectives: list[Objective] | None = None,
        optimizer: OptimizerCallable = adamw,
        scheduler: LRSchedulerCallable | None = None,
        modality_dropout: float = 0.0,
        dropout_seed: int = 0,
    ) -> None:
        super().__init__()
        self._encoders, self._fusion = encoders, fusion
        self._optimizer, self._scheduler = optimizer, scheduler
        extra = list(objectives or [])
        if not any(isinstance(o, SupervisedLoss) for o in extra):
            extra.insert(0, SupervisedLoss())
        self.objectives = nn.ModuleList(extra)
        self.modality_dropout = (
            ModalityDropout(modality_dropout, seed=dropout_seed) if modality_dropout else None
        )
        self.model: FusionModel | None = None
        self._losses = Scores()
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

    def fresh(self, fusion: Any = None) -> SupervisedTask:
        """An untrained task with the same settings and, if given, another fusion."""
        dropout = self.modality_dropout
        return SupervisedTask(
            self._encoders,
            self._fusion if fusion is None else fusion,
            [rebuild(describe(o)) for o in self._terms],
            self._optimizer,
            self._scheduler,
            cast(float, dropout.rate) if dropout else 0.0,
            dropout.seed if dropout else 0,
        )

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
            self.build(build_model(data.spec, self._encoders, self._fusion, data.cached))
        assert self.model is not None
        data.attach(self.model.preprocess)
        self._metrics = {split: Scores.metrics(self.model.spec, split) for split in ("val", "test")}

    def towers(self, spec: DataSpec) -> Towers:
        """The encoders that this task names, for what the data looks like."""
        return Towers(spec, build_encoders(spec, self._encoders))

    def build(self, model: FusionModel) -> None:
        """Takes ``model`` for its own and lets the objectives make what they need."""
        self.model = model
        others = [o for o in self._terms if not isinstance(o, SupervisedLoss)]
        if others and not model.spec.targets:
            self.objectives = nn.ModuleList(others)
        for objective in self._terms:
            objective.build(model)

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
        found = DataSpec.from_dict(content["mmfuse"]["model"]["spec"])
        spec, new_heads = starting_spec(found, data.spec)
        data.adopt(spec)
        model = build_model(data.spec, self._encoders, self._fusion, data.cached)
        take_weights(model, content, new_heads, name)
        self.build(model)
        return new_heads

    def teardown(self, stage: str) -> None:
        """Tells, once, which rows could not be read."""
        self._unreadable.tell()

    def configure_optimizers(self) -> Any:
        """The optimizer over everything that learns, and the scheduler if there is one."""
        optimizer = self._optimizer(p for p in self.parameters() if p.requires_grad)
        if self._scheduler is None:
            return optimizer
        scheduler = self._scheduler(optimizer)
        # Only a scheduler that waits for a plateau looks at it.
        monitor = getattr(scheduler, "monitor", "val/loss")
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "monitor": monitor},
        }

    # Steps.

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Modality dropout, on the CPU, before the encoders see the rows; bad rows are counted."""
        self._unreadable.add(batch.problems)
        if self.modality_dropout is None or not self.trainer.training:
            return batch
        unknown = torch.full_like(batch.index, -1)
        facts = RowFacts(
            batch.modalities,
            batch.index,
            batch.present,
            unknown,
            torch.full(batch.present.shape, 0.5),
        )
        return batch.keep(self.modality_dropout.keep(facts, epoch=self.current_epoch))

    def forward(self, batch: Batch) -> Output:
        """The model's output for a batch."""
        assert self.model is not None
        return self.model(batch)

    def losses(self, batch: Batch) -> tuple[Tensor, Output, dict[str, Tensor]]:
        """The weighted sum of all objectives, the output, and every named loss."""
        model = self.model
        assert model is not None
        present = model.present(batch)
        tokens = model.encode(batch)
        output = model.read(model.fuse(tokens, present), present)
        named: dict[str, Tensor] = {}
        total: Tensor | None = None
        progress = self._progress()
        for objective in self._terms:
            factor = objective.factor(progress)
            for name, value in objective(model, batch, tokens, output).items():
                named[f"{type(objective).__name__}/{name}"] = value
                total = factor * value if total is None else total + factor * value
        for name, value in output.fused.losses.items():
            named[f"{type(model.fusion).__name__}/{name}"] = value
            total = value if total is None else total + value
        assert total is not None
        return total, output, named

    def _progress(self) -> float:
        total = self.trainer.estimated_stepping_batches if self._needs_progress else 1.0
        return min(self.global_step / total, 1.0) if self._needs_progress else 0.0

    @property
    def _needs_progress(self) -> bool:
        return self.training and any(o.schedule != "constant" for o in self._terms)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One step; losses are summed on the device and logged once an epoch."""
        total, _, named = self.losses(batch)
        self._losses.add({"loss": total, **named}, len(batch))
        return total

    def on_train_epoch_end(self) -> None:
        """Logs the epoch's mean losses."""
        self.log_dict(self._losses.mean("train/"), sync_dist=True)

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
        total, output, _ = self.losses(batch)
        self._metrics[split].update(output, batch, total)

    def _log_scores(self, split: str) -> None:
        scores = self._metrics[split].compute(self.device)
        self.log_dict(scores, prog_bar=split == "val", sync_dist=False)

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

        Raises:
            CheckpointError: the checkpoint is of another model, naming what differs.
        """
        if self.model is None:
            self.build(FusionModel.rebuild(checkpoint["mmfuse"]["model"]))
            return
        self.build(require_same_model(self.model, checkpoint).to(self.device))
        if "loops" not in checkpoint:  # weights alone: what objectives learned is not with them
            own = {k: v for k, v in self.state_dict().items() if not k.startswith("model.")}
            checkpoint["state_dict"].update(own | checkpoint["state_dict"])
