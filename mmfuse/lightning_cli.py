"""The subcommands that train and evaluate: a LightningCLI over mmfuse's Trainer."""

from __future__ import annotations

import inspect
import warnings
from argparse import ArgumentError
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import yaml
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from mmfuse.arguments import ours, readable
from mmfuse.data import RunData
from mmfuse.errors import ConfigError
from mmfuse.lazy import import_names
from mmfuse.registry import import_all
from mmfuse.runs import hush
from mmfuse.tasks.predictions import PredictionWriter
from mmfuse.trainer import Trainer

_COMMANDS = ("fit", "validate", "test", "predict", "extract", "robustness", "retrieve", "compare")
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
    """LightningCLI with subcommands of our Trainer beside the usual ones."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Each subcommand and the arguments that the CLI itself supplies."""
        return dict.fromkeys(_COMMANDS, _SUPPLIED)

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """A parser that raises instead of printing its usage and leaving."""
        return super().init_parser(**{**kwargs, "exit_on_error": False})

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """A model needs no class_path: it is the supervised task unless it says otherwise."""
        parser.set_defaults({"model": {"class_path": "mmfuse.tasks.SupervisedTask"}})

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


def run(args: Sequence[str]) -> None:
    """Parses and runs one subcommand.

    Raises:
        MmfuseError: a mistake in the configuration, the data or the checkpoint.
        KeyboardInterrupt: the run was interrupted, and has been closed in order.
    """
    hush()
    # The words are sys.argv's own, or a test's.
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter is intended")
    import_all()  # so that the short class names of every installed package are known
    import_names("mmfuse.recommend")
    import_names("mmfuse.suites")
    try:
        MmfuseCLI(
            L.LightningModule,
            RunData,
            trainer_class=Trainer,
            subclass_mode_model=True,
            subclass_mode_data=True,
            seed_everything_default=0,
            args=shared_configs(args),
        )
    except ArgumentError as error:
        told = readable(str(error))
        if told.startswith("unrecognized"):
            told += f". For the options: mmfuse {args[0]} --help"
        raise ConfigError(told) from error
    except ValueError as error:
        raise ours(error) or error from error
    except MisconfigurationException as error:
        raise ConfigError(str(error)) from error
    except SystemExit as error:
        # Lightning ends an interrupted run in an orderly way, then leaves with status 1.
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise


def shared_configs(args: Sequence[str]) -> list[str]:
    """Arguments in which each ``--config`` is fit for the subcommand at hand.

    One file serves every subcommand; what only another one takes, such as the fusions of
    ``compare`` for ``fit``, is left out. A fusion that takes another's place starts from its
    own defaults: jsonargparse would keep what the two have options for.
    """
    takes = {c: set(inspect.signature(getattr(Trainer, c)).parameters) for c in _COMMANDS}
    foreign = set().union(*takes.values()) - takes[args[0]] | {"weights_only"}
    found, words = [], iter(args)
    for word in words:
        option, equals, value = word.partition("=")
        if option == "--model.fusion":
            found.append("--model.fusion=null")
        if option not in ("--config", "-c"):
            found.append(word)
            continue
        path = Path(value if equals else next(words, ""))
        content = yaml.safe_load(path.read_text()) if path.is_file() else None
        if isinstance(content, dict) and foreign & set(content):
            kept = {k: v for k, v in content.items() if k not in foreign}
            found += [option, yaml.safe_dump(kept, sort_keys=False)]
        else:
            found += [option, str(path)]
    return found
