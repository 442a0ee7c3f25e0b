"""The commands that train and evaluate: a LightningCLI over mmfuse's Trainer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from mmfuse.data import RunData
from mmfuse.tasks.predictions import PredictionWriter
from mmfuse.trainer import Trainer

COMMANDS = ("fit", "validate", "test", "predict", "extract", "robustness", "retrieve", "compare")
#: What a model is that names no class.
TASK = "mmfuse.tasks.SupervisedTask"
# What the CLI itself supplies; weights_only is always on.
_SUPPLIED = {
    "model",
    "train_dataloaders",
    "val_dataloaders",
    "dataloaders",
    "datamodule",
    "weights_only",
}


class MmfuseCLI(LightningCLI):
    """LightningCLI with subcommands of our Trainer beside the usual ones.

    Args:
        words: the command's name and its arguments.
    """

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__(
            L.LightningModule,
            RunData,
            trainer_class=Trainer,
            subclass_mode_model=True,
            subclass_mode_data=True,
            seed_everything_default=0,
            args=list(words),
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Each subcommand and the arguments that the CLI itself supplies."""
        return dict.fromkeys(COMMANDS, _SUPPLIED)

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """A parser that raises instead of printing its usage and leaving."""
        return super().init_parser(**{**kwargs, "exit_on_error": False})

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """A model needs no class_path: it is the supervised task unless it says otherwise."""
        parser.set_defaults({"model": {"class_path": TASK}})

    def _parse_ckpt_path(self) -> None:
        """Lightning looks here for hyperparameters; our checkpoints describe the model instead."""

    def before_predict(self) -> None:
        """Predictions go to a file in the run's folder."""
        callbacks: list[Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        callbacks.append(PredictionWriter(self._folder / "predictions.parquet"))

    def after_fit(self) -> None:
        """Says where the run is."""
        best = getattr(self.trainer.checkpoint_callback, "best_model_path", "")
        self._say(f"Best checkpoint: {best or self._folder}")

    def after_validate(self) -> None:
        """Says where the scores are."""
        self._say(f"Scores: {self._folder / 'metrics.csv'}")

    after_test = after_validate

    def after_predict(self) -> None:
        """Says where the predictions are."""
        self._say(f"Predictions: {self._folder / 'predictions.parquet'}")

    def after_robustness(self) -> None:
        """Says where the report is; where there is a progress bar, its table has told."""
        if self.trainer.progress_bar_callback is None:
            out = self.config[self.subcommand].out
            self._say(f"Report: {out or self._folder / 'robustness'}")

    @property
    def _folder(self) -> Path:
        return Path(self.trainer.log_dir or self.trainer.default_root_dir)

    def _say(self, line: str) -> None:
        if self.trainer.is_global_zero:
            print(line)
