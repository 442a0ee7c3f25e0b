"""Trainer: Lightning's, with calm defaults, exact resuming, and the robustness report."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from mmfuse.callbacks import ExactResume, RunRecord
from mmfuse.errors import ConfigError, MissingFileError, OutputError

if TYPE_CHECKING:
    from mmfuse.robustness import RobustnessResult

_CHATTER = ("Tip:", "GPU available", "TPU available", "HPU available", "`Trainer.fit` stopped")


def _is_worth_saying(record: logging.LogRecord) -> bool:
    return not any(phrase in record.getMessage() for phrase in _CHATTER)


def _hush() -> None:
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    if _is_worth_saying not in logger.filters:
        logger.addFilter(_is_worth_saying)


class Trainer(L.Trainer):
    """Lightning's Trainer with the defaults that mmfuse's runs share.

    Every run has one folder, ``<default_root_dir>/version_<n>``: its configuration (from
    the command line), ``run.json``, ``rows.parquet`` (splits and realised masks),
    ``metrics.csv``, TensorBoard events, and ``checkpoints/best.ckpt`` (lowest ``monitor``)
    and ``checkpoints/last.ckpt``.

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
        **kwargs: Any,
    ) -> None:
        _hush()
        if logger is True:
            logger = _loggers(default_root_dir)
        extra = [callbacks] if isinstance(callbacks, Callback) else list(callbacks or [])
        own: list[Callback] = [ExactResume(), RunRecord()]
        if enable_checkpointing and not any(isinstance(c, ModelCheckpoint) for c in extra):
            own.append(
                ModelCheckpoint(
                    filename="best",
                    monitor=monitor,
                    mode=monitor_mode,
                    save_last=True,
                    enable_version_counter=False,
                )
            )
        super().__init__(
            max_epochs=max_epochs,
            default_root_dir=default_root_dir,
            logger=logger,
            callbacks=extra + own,
            enable_checkpointing=enable_checkpointing,
            log_every_n_steps=log_every_n_steps,
            # Our loaders know their rank and shard themselves.
            use_distributed_sampler=False,
            **kwargs,
        )

    def fit(
        self,
        model: L.LightningModule,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: L.LightningDataModule | None = None,
        ckpt_path: str | Path | None = None,
        weights_only: bool | None = True,
    ) -> None:
        """Trains a task on a DataModule.

        Args:
            model: the task.
            train_dataloaders: the DataModule may stand here, as Lightning allows.
            val_dataloaders: not used by mmfuse's tasks.
            datamodule: the data.
            ckpt_path: a checkpoint to go on from; ``last`` finds the newest ``last.ckpt``
                among the runs in ``default_root_dir``.
            weights_only: load nothing but tensors and plain data from it.
        """
        if ckpt_path == "last":
            ckpt_path = self._newest_checkpoint()
        super().fit(
            model, train_dataloaders, val_dataloaders, datamodule, ckpt_path, weights_only
        )

    def _newest_checkpoint(self) -> str:
        found = sorted(
            Path(self.default_root_dir).glob("version_*/checkpoints/last.ckpt"),
            key=lambda p: p.stat().st_mtime,
        )
        if not found:
            raise MissingFileError(
                f"No version_*/checkpoints/last.ckpt in {self.default_root_dir}: there is no run "
                "to go on from. Leave ckpt_path out, or give the file."
            )
        return str(found[-1])


def _loggers(root: str) -> list[Logger]:
    try:
        Path(root).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot write the folder of runs {root}: {error}.") from error
    csv = CSVLogger(root, name="")
    return [csv, TensorBoardLogger(root, name="", version=csv.version, default_hp_metric=False)]
