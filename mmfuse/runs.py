"""The folder of runs: its loggers, its checkpoints, and quiet about what nobody can act on."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from mmfuse.errors import MissingFileError, OutputError

_CHATTER = (
    "Seed set to",  # run.json says so
    "Tip:",
    "GPU available",
    "TPU available",
    "HPU available",
    "`Trainer.fit` stopped",
    "Restoring states from",
    "Restored all states from",
    "Loaded model weights from",
    "Detected KeyboardInterrupt",
    "`weights_only` was not set",  # of a checkpoint that is saved by hand, which has all
)


def _is_worth_saying(record: logging.LogRecord) -> bool:
    return not any(phrase in record.getMessage() for phrase in _CHATTER)


def hush() -> None:
    """Silences what Lightning says of itself in every run."""
    for name in (
        "lightning.pytorch.utilities.rank_zero",
        "lightning.pytorch.trainer.connectors.checkpoint_connector",
        "lightning.fabric.utilities.seed",
    ):
        logging.getLogger(name).addFilter(_is_worth_saying)  # the same filter is added once
    # Of Lightning and torch between themselves; nothing that a person can act on.
    warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.* is deprecated")
    warnings.filterwarnings("ignore", message="You have overridden `on_before_batch_transfer`")
    warnings.filterwarnings("ignore", message="The dirpath has changed from")
    warnings.filterwarnings("ignore", message=".*does not have many workers")
    # Frozen encoders stay in eval mode on purpose.
    warnings.filterwarnings("ignore", message="Found .* module.* in eval mode at the start")
    # Data without validation rows gives no validation loader.
    warnings.filterwarnings("ignore", message="Total length of `list` across ranks is zero")
    # Of a loader without a DataModule, which the task refuses a moment later.
    warnings.filterwarnings("ignore", message="You defined a `validation_step` but have no")


def loggers(root: str) -> list[Logger]:
    """CSV and TensorBoard, both in the next ``version_<n>`` of a folder of runs.

    Raises:
        OutputError: the folder cannot be written.
    """
    try:
        Path(root).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot write the folder of runs {root}: {error}.") from error
    csv = CSVLogger(root, name="")
    return [csv, TensorBoardLogger(root, name="", version=csv.version, default_hp_metric=False)]


def newest_checkpoint(root: str, which: str) -> str:
    """The newest ``version_<n>/checkpoints/<which>.ckpt`` in a folder of runs.

    Raises:
        MissingFileError: there is none.
    """
    found = Path(root).glob(f"version_*/checkpoints/{which}.ckpt")
    newest = max(found, key=lambda p: p.stat().st_mtime, default=None)
    if newest is None:
        raise MissingFileError(
            f"No version_*/checkpoints/{which}.ckpt in {root}: there is no run to take it from. "
            "Give the checkpoint's path, or the runs' folder as trainer.default_root_dir."
        )
    return str(newest)
