"""RunTrainer: Lightning's, with calm defaults and exact resuming; each run has one folder."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import lightning as L
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import Logger

from mmfuse import checkpoint
from mmfuse.callbacks import BestCheckpoint, ExactResume, RunRecord
from mmfuse.data import FusionDataModule, RunData
from mmfuse.errors import CheckpointError, ConfigError
from mmfuse.imputing import ImputerFit
from mmfuse.runs import hush, loggers, newest_checkpoint
from mmfuse.tasks import FusionTask
from mmfuse.tasks.stated import otherwise_stated


class RunTrainer(L.Trainer):
    """Lightning's Trainer with the defaults that mmfuse's runs share.

    Every run has one folder, ``<default_root_dir>/version_<n>``: its configuration (from
    the command line), ``run.json``, ``rows.parquet`` (splits and realised masks),
    ``metrics.csv``, TensorBoard events, and ``checkpoints/best.ckpt`` (lowest ``monitor``;
    the last one where no rows validate) and ``checkpoints/last.ckpt``.

    Args:
        max_epochs: passes over the training rows.
        default_root_dir: folder of runs.
        logger: True for CSV and TensorBoard in the run's folder; False for none; or your own.
        callbacks: added to mmfuse's own. A ``ModelCheckpoint`` here replaces the default.
        monitor: the logged value that chooses the best checkpoint; by default the task's own
            choice, ``val/loss``, or ``val/recall_at_20`` for recommendation.
        monitor_mode: ``min`` or ``max``, where ``monitor`` is given.
        **kwargs: everything else that Lightning's Trainer takes.

    Raises:
        OutputError: ``default_root_dir`` cannot be written.
    """

    def __init__(
        self,
        *,
        max_epochs: int = 50,
        default_root_dir: str = "runs",
        logger: bool | Logger | list[Logger] = True,
        callbacks: list[Callback] | Callback | None = None,
        monitor: str | None = None,
        monitor_mode: str = "min",
        enable_checkpointing: bool = True,
        log_every_n_steps: int = 1,
        enable_model_summary: bool = False,
        **kwargs: Any,
    ) -> None:
        hush()
        if logger is True:
            logger = loggers(default_root_dir)
        extra = [callbacks] if isinstance(callbacks, Callback) else list(callbacks or [])
        own: list[Callback] = [ExactResume(), RunRecord(), ImputerFit()]
        if enable_checkpointing and not any(isinstance(c, ModelCheckpoint) for c in extra):
            own.append(BestCheckpoint(monitor, monitor_mode))
        self._options = {
            "max_epochs": max_epochs,
            "monitor": monitor,
            "monitor_mode": monitor_mode,
            "log_every_n_steps": log_every_n_steps,
            **kwargs,
        }
        ours = SaveConfigCallback | BestCheckpoint
        self._given_callbacks = [c for c in extra if not isinstance(c, ours)]
        super().__init__(
            max_epochs=max_epochs,
            default_root_dir=default_root_dir,
            logger=logger,
            callbacks=extra + own,
            enable_checkpointing=enable_checkpointing,
            log_every_n_steps=log_every_n_steps,
            enable_model_summary=enable_model_summary,
            # Our loaders know their rank and shard themselves.
            use_distributed_sampler=False,
            **kwargs,
        )

    def settings(self) -> dict[str, Any]:
        """What decides the course of training, in plain data, for a record."""
        callbacks = [
            {"class": type(c).__name__, **{k: v for k, v in vars(c).items() if _is_plain(v)}}
            for c in self._given_callbacks
        ]
        return {**{k: str(v) for k, v in self._options.items()}, "callbacks": callbacks}

    def fresh(self, folder: Path, callbacks: Sequence[Callback] = ()) -> Self:
        """A quiet Trainer with the same options, for one of many runs, which leave weights alone.

        Args:
            folder: its folder of runs.
            callbacks: further callbacks.

        Raises:
            ConfigError: this Trainer has run, and its callbacks remember that run.
        """
        if self._given_callbacks and self.state.fn is not None:
            names = ", ".join(type(c).__name__ for c in self._given_callbacks)
            raise ConfigError(
                f"This Trainer has already run, and its callbacks ({names}) remember that run. "
                "Make a new Trainer with new callbacks."
            )
        options = {**self._options, "enable_progress_bar": False}
        own: list[Callback] = [*copy.deepcopy(self._given_callbacks), *callbacks]
        if not any(isinstance(c, ModelCheckpoint) for c in own):
            monitor, mode = self._options["monitor"], self._options["monitor_mode"]
            own.append(BestCheckpoint(monitor, mode, is_resumable=False))
        return type(self)(
            default_root_dir=str(folder),
            logger=False,
            callbacks=own,
            **options,
        )

    def fit(
        self,
        model: L.LightningModule,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: L.LightningDataModule | None = None,
        ckpt_path: str | Path | None = None,
        weights_only: bool | None = True,
        start_from: str | Path | None = None,
    ) -> None:
        """Trains a task on a DataModule.

        Args:
            model: the task.
            train_dataloaders: the DataModule may stand here, as Lightning allows.
            val_dataloaders: not used by mmfuse's tasks.
            datamodule: the data.
            ckpt_path: a checkpoint to go on from; ``last`` is this Trainer's own, or the
                newest ``last.ckpt`` among the runs in ``default_root_dir``.
            weights_only: load nothing but tensors and plain data from it.
            start_from: a checkpoint whose weights and statistics a new run starts with; see
                ``SupervisedTask.start_from``.

        Raises:
            CheckpointError: ``ckpt_path`` holds no state of training to go on from.
            ConfigError: ``start_from`` without a task and data of mmfuse's.
        """
        ckpt_path = self._found(ckpt_path)
        if ckpt_path is not None and "loops" not in checkpoint.read(ckpt_path):
            raise CheckpointError(
                f"{ckpt_path} holds weights alone, and no state of a run to go on with. Start a "
                "new run with them: start_from in place of ckpt_path."
            )
        if start_from is not None:
            self._start(model, datamodule or train_dataloaders, self._found(start_from))
        super().fit(model, train_dataloaders, val_dataloaders, datamodule, ckpt_path, weights_only)

    def validate(
        self,
        model: L.LightningModule | None = None,
        dataloaders: Any = None,
        ckpt_path: str | Path | None = None,
        verbose: bool = True,
        datamodule: L.LightningDataModule | None = None,
        weights_only: bool | None = True,
    ) -> list[Mapping[str, float]]:
        """Scores the validation rows.

        Args:
            model: the task.
            dataloaders: the DataModule may stand here, as Lightning allows.
            ckpt_path: a checkpoint, ``best`` or ``last``; its classes and statistics count.
            verbose: print the scores.
            datamodule: the data.
            weights_only: load nothing but tensors and plain data from it.
        """
        ckpt_path = self._found(ckpt_path, datamodule)
        return super().validate(model, dataloaders, ckpt_path, verbose, datamodule, weights_only)

    def test(
        self,
        model: L.LightningModule | None = None,
        dataloaders: Any = None,
        ckpt_path: str | Path | None = None,
        verbose: bool = True,
        datamodule: L.LightningDataModule | None = None,
        weights_only: bool | None = True,
    ) -> list[Mapping[str, float]]:
        """Scores the test rows; arguments as ``validate``."""
        ckpt_path = self._found(ckpt_path, datamodule)
        return super().test(model, dataloaders, ckpt_path, verbose, datamodule, weights_only)

    def predict(
        self,
        model: L.LightningModule | None = None,
        dataloaders: Any = None,
        datamodule: L.LightningDataModule | None = None,
        return_predictions: bool | None = None,
        ckpt_path: str | Path | None = None,
        weights_only: bool | None = True,
    ) -> list[Any] | None:
        """Predicts the test rows; ``mmfuse.to_frame`` makes a table of what it returns.

        Args as ``validate``, and one more:
            return_predictions: False keeps them out of memory, for a writer's sake.
        """
        ckpt_path = self._found(ckpt_path, datamodule)
        return super().predict(
            model, dataloaders, datamodule, return_predictions, ckpt_path, weights_only
        )

    def _start(self, task: L.LightningModule, data: Any, path: str | None) -> None:
        require_start(task, data)
        assert isinstance(task, FusionTask)
        assert path is not None
        new_heads = task.start_from(path, data)
        if new_heads and self.is_global_zero and self.progress_bar_callback is not None:
            print(f"Heads that {path} does not bring start afresh: {', '.join(new_heads)}")

    def _instead(
        self,
        task: L.LightningModule | None,
        ckpt_path: str | Path | None,
        datamodule: L.LightningDataModule | None = None,
    ) -> str | None:
        """The file whose model is evaluated in the task's place; tells in what the two differ."""
        path = self._found(ckpt_path, datamodule)
        if path is None or not isinstance(task, FusionTask) or task.model is not None:
            return path
        differing = otherwise_stated(task, checkpoint.read(path))
        if differing and self.is_global_zero:
            told = "; ".join(differing)
            print(f"The model is that of {path}, and not the configuration's: {told}.")
        return path

    def _found(
        self, ckpt_path: str | Path | None, datamodule: L.LightningDataModule | None = None
    ) -> str | None:
        """The file that is meant; the data takes that model's classes and statistics."""
        if ckpt_path in ("best", "last"):
            own: str = getattr(self.checkpoint_callback, f"{ckpt_path}_model_path", "")
            ckpt_path = own or newest_checkpoint(self.default_root_dir, str(ckpt_path))
        if ckpt_path is None:
            return None
        spec = checkpoint.spec_of(ckpt_path)  # which refuses a file that is no checkpoint
        if isinstance(datamodule, RunData) and spec is not None:
            datamodule.adopt(spec)
        return str(ckpt_path)


def require_start(task: object, data: object) -> None:
    """Checks that a run of a task may start from a checkpoint.

    Raises:
        ConfigError: it is not a task of mmfuse's that trains a FusionModel on rows.
    """
    if not isinstance(task, FusionTask) or not isinstance(data, FusionDataModule):
        raise ConfigError("start_from needs a task of mmfuse and its DataModule.")


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)
