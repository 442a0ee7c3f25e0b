"""Trainer: Lightning's, with calm defaults, exact resuming, and the robustness report."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import lightning as L
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import Logger

from mmfuse import checkpoint
from mmfuse.callbacks import BestCheckpoint, ExactResume, RunRecord
from mmfuse.data import FusionDataModule
from mmfuse.errors import CheckpointError, ConfigError
from mmfuse.fusion.base import Fusion
from mmfuse.missing import Missingness
from mmfuse.runs import hush, loggers, newest_checkpoint
from mmfuse.tasks import FusionTask, SupervisedTask

if TYPE_CHECKING:
    import pandas as pd

    from mmfuse.robustness import RobustnessResult


class Trainer(L.Trainer):
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
        monitor: the logged value that chooses the best checkpoint.
        monitor_mode: ``min`` or ``max``.
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
        monitor: str = "val/loss",
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
        own: list[Callback] = [ExactResume(), RunRecord()]
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

    def fresh(self, folder: Path, callbacks: Sequence[Callback] = ()) -> Trainer:
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
        return Trainer(
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

        Args:
            model: the task.
            dataloaders: the DataModule may stand here, as Lightning allows.
            datamodule: the data.
            return_predictions: False keeps them out of memory, for a writer's sake.
            ckpt_path: a checkpoint, ``best`` or ``last``; its classes and statistics count.
            weights_only: load nothing but tensors and plain data from it.
        """
        ckpt_path = self._found(ckpt_path, datamodule)
        return super().predict(
            model, dataloaders, datamodule, return_predictions, ckpt_path, weights_only
        )

    def robustness(
        self,
        model: L.LightningModule | None = None,
        datamodule: FusionDataModule | None = None,
        ckpt_path: str | Path | None = None,
        split: Literal["train", "val", "test"] = "test",
        out: str | Path | None = None,
        mcar_rates: list[float] | None = None,
        bootstrap: int = 1000,
        seed: int = 0,
    ) -> RobustnessResult:
        """Reports what happens when modalities are absent.

        Args:
            model: a trained task; not needed with ``ckpt_path``.
            datamodule: the data.
            ckpt_path: a checkpoint to evaluate instead; ``best`` or ``last`` is this
                Trainer's own, or the newest in ``default_root_dir``.
            split: the rows to evaluate.
            out: folder of the report; the run's folder by default.
            mcar_rates: rates of modalities missing at random; 0.1 to 0.9 by default.
            bootstrap: resamples behind each interval.
            seed: seed of the simulated absence.

        Returns:
            the numbers; the folder holds them too, with ``report.html``.
        """
        from mmfuse.robustness_run import robustness_run

        if datamodule is None:
            raise ConfigError("A robustness report needs data; give a datamodule.")
        return robustness_run(
            datamodule,
            out or Path(self.log_dir or self.default_root_dir) / "robustness",
            getattr(model, "model", None),
            self._found(ckpt_path),
            split,
            mcar_rates,
            bootstrap,
            seed,
            self.strategy.root_device,
            self.progress_bar_callback is not None,
        )

    def extract(
        self,
        model: L.LightningModule | None = None,
        datamodule: FusionDataModule | None = None,
        ckpt_path: str | Path | None = None,
        out: str = "features",
        what: list[str] | None = None,
        split: Literal["train", "val", "test"] | None = None,
        format: Literal["parquet", "safetensors"] = "parquet",
        dtype: Literal["float32", "float16", "bfloat16"] = "float32",
        shard_rows: int = 8192,
        on_error: Literal["raise", "absent", "skip"] = "raise",
        engine: Literal["local", "ray"] = "local",
        actors: int = 2,
    ) -> dict[str, Any] | None:
        """Writes features to files that other tools read; goes on where it stopped.

        Computes on the Trainer's device and processes, in its ``precision`` (``32-true`` or
        ``bf16-mixed``).

        Args:
            model: a trained task, or one whose encoders are frozen; not needed with
                ``ckpt_path``.
            datamodule: the data; ``eval_batch_size`` and ``workers`` count.
            ckpt_path: a checkpoint, ``best`` or ``last``.
            out: folder of the features.
            what: a modality's name for its pooled vector, ``<modality>.tokens`` for its
                tokens, ``fused``, ``steps``, ``logits``; the modalities and ``fused`` by
                default.
            split: the rows; all by default, with a column that tells the split.
            format: ``parquet`` or ``safetensors``.
            dtype: of the stored numbers; Parquet has no bfloat16.
            shard_rows: rows a file.
            on_error: what happens to a row that cannot be read: ``raise`` stops, ``absent``
                counts its modality as absent, ``skip`` leaves the row out; the manifest
                lists it.
            engine: ``ray`` spreads the shards over a pool of Ray actors.
            actors: size of that pool.

        Returns:
            the manifest, or None while other processes are still at work.
        """
        from mmfuse.extract_run import extract_run

        if datamodule is None:
            raise ConfigError("Features are extracted from data; give a datamodule.")
        return extract_run(
            self,
            datamodule,
            out,
            model,
            self._found(ckpt_path, datamodule),
            engine,
            actors,
            what=what,
            split=split,
            format=format,
            dtype=dtype,
            shard_rows=shard_rows,
            batch_size=datamodule.eval_batch_size,
            on_error=on_error,
        )

    def retrieve(
        self,
        model: L.LightningModule | None = None,
        datamodule: FusionDataModule | None = None,
        ckpt_path: str | Path | None = None,
        split: Literal["train", "val", "test"] = "test",
        out: str | Path | None = None,
        ks: list[int] | None = None,
    ) -> pd.DataFrame:
        """Measures how modalities that share a space find each other.

        For a folder of features: mmfuse retrieve --features FOLDER.

        Args:
            model: a trained ``AlignmentTask``, or with ``ckpt_path`` one whose settings tell the
                classes and how their names are written.
            datamodule: the data.
            ckpt_path: a checkpoint to evaluate instead; ``best`` or ``last``.
            split: the rows to evaluate.
            out: folder of ``retrieval.csv`` and ``retrieval.png``; the run's by default.
            ks: where to measure recall; 1, 5 and 10 by default.

        Returns:
            one line a direction; the folder holds it too.
        """
        from mmfuse.retrieve_run import retrieve_run

        if datamodule is None:
            raise ConfigError("Retrieval is measured on data; give a datamodule.")
        return retrieve_run(
            datamodule,
            out or Path(self.log_dir or self.default_root_dir) / "retrieval",
            model,
            self._found(ckpt_path),
            split,
            (1, 5, 10) if ks is None else ks,
            self.strategy.root_device,
            self.progress_bar_callback is not None,
        )

    def compare(
        self,
        model: L.LightningModule,
        datamodule: FusionDataModule,
        fusions: dict[str, Callable[[dict[str, int]], Fusion] | SupervisedTask],
        seeds: list[int] | None = None,
        conditions: dict[str, Missingness | None] | None = None,
        out: str = "comparison",
        baselines: bool = True,
        best_test_epoch: bool = False,
        metrics: list[str] | None = None,
    ) -> pd.DataFrame:
        """Trains several fusions over several seeds into one table; goes on where it stopped.

        Args:
            model: the task; its encoders, objectives and optimizer serve every fusion.
            datamodule: the data.
            fusions: the table's lines: a name and a fusion for each, or (in Python) a task of
                its own.
            seeds: the seeds; 0 to 4 by default.
            conditions: test-time absence, a name and a simulator for each; the complete
                test rows always come first.
            out: folder of the tables, and of the finished runs.
            baselines: add scikit-learn's logistic regression and histogram gradient
                boosting on the joined features.
            best_test_epoch: also report the epoch that was best on the test rows, as some
                published tables do.
            metrics: metrics to show, the most important first; all by default.

        Returns:
            the summary: mean and half-width of the 95 % interval over seeds.
        """
        from mmfuse.compare import Study

        if not isinstance(model, SupervisedTask):
            raise ConfigError(f"compare varies a SupervisedTask; found {type(model).__name__}.")
        study = Study(
            model,
            datamodule,
            self.fresh,
            fusions,
            list(range(5)) if seeds is None else seeds,
            conditions or {},
            Path(out),
            baselines,
            best_test_epoch,
        )
        summary = study.run(metrics)
        if self.progress_bar_callback is not None:
            print((Path(out) / "table.md").read_text())
            print(f"Table: {Path(out) / 'table.md'}")
        return summary

    def _start(self, task: L.LightningModule, data: Any, path: str | None) -> None:
        if not isinstance(task, FusionTask) or not isinstance(data, FusionDataModule):
            raise ConfigError("start_from needs a task of mmfuse and its DataModule.")
        assert path is not None
        new_heads = task.start_from(path, data)
        if new_heads and self.is_global_zero and self.progress_bar_callback is not None:
            print(f"Heads that {path} does not bring start afresh: {', '.join(new_heads)}")

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
        if isinstance(datamodule, FusionDataModule):
            datamodule.adopt(spec)
        return str(ckpt_path)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)
