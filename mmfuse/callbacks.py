"""Callbacks that every run has: exact resuming, checkpoints, and a record of what ran."""

from __future__ import annotations

import os
import platform
import shutil
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

import mmfuse
from mmfuse.data import RunData
from mmfuse.files import replacing, write_json
from mmfuse.model import FusionModel

_LIBRARIES = ("torch", "lightning", "torchmetrics", "datasets", "scikit-learn", "numpy")


class ExactResume(Callback):
    """Keeps the random state in the checkpoint and puts it back before the next step.

    With the data order (kept by the loader) and the optimizer (kept by Lightning) a run
    that was killed and resumed gives the same weights as one that was not, on a CPU.
    """

    def __init__(self) -> None:
        self._pending: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """The random state of this moment."""
        state: dict[str, Any] = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            state["cuda"] = torch.cuda.get_rng_state_all()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remembers the state until training starts; set-up may still draw numbers."""
        self._pending = state_dict

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Puts the random state back, once."""
        if self._pending is None:
            return
        torch.set_rng_state(self._pending["cpu"].cpu())
        if "cuda" in self._pending and torch.cuda.is_available():
            torch.cuda.set_rng_state_all([s.cpu() for s in self._pending["cuda"]])
        self._pending = None


class BestCheckpoint(ModelCheckpoint):
    """Keeps ``best.ckpt`` and ``last.ckpt``; without validation rows the last one is the best.

    Args:
        monitor: the logged value that chooses the best checkpoint; None for the task's own choice.
        mode: ``min`` or ``max``.
        is_resumable: keep ``last.ckpt`` and what training needs to go on; without, ``best.ckpt``
            holds the weights alone, a third of the bytes.
    """

    def __init__(self, monitor: str | None, mode: str, is_resumable: bool = True) -> None:
        super().__init__(
            filename="best",
            monitor=monitor or "val/loss",
            mode=mode,
            save_last=is_resumable,
            save_weights_only=not is_resumable,
            enable_version_counter=False,
        )
        self._wanted, self._is_named = monitor or "val/loss", monitor is not None
        self._is_first = True  # of all processes

    @property
    def state_key(self) -> str:
        """As Lightning's, whether or not there are validation rows."""
        return self._generate_state_key(monitor=self._wanted, mode=self.mode)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Waits for no validation score that will not come."""
        super().setup(trainer, pl_module, stage)
        self._is_first = trainer.is_global_zero
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not self._is_named:
            self._wanted, mode = getattr(pl_module, "best", ("val/loss", "min"))
            if mode != self.mode:
                self.mode, self.kth_value = mode, -self.kth_value
            self.monitor = self._wanted
        if stage != "fit" or not isinstance(data, RunData):
            return
        is_validated = trainer.limit_val_batches != 0 and data.is_validated
        waits = self._wanted.startswith("val/") and not is_validated
        self.monitor = None if waits else self._wanted

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the best checkpoint so far along into the folder of the run that goes on.

        Lightning forgets its score where folders differ, and then the first epoch to come would
        count as the best, however bad it is.
        """
        super().load_state_dict(state_dict)
        found, score = Path(self.best_model_path), state_dict["best_model_score"]
        if self.dirpath is None or self.dirpath == state_dict.get("dirpath") or not found.is_file():
            return
        kept = Path(self.dirpath) / found.name
        if self._is_first:
            with replacing(kept) as part:
                shutil.copyfile(found, part)
        self.best_model_path = str(kept)
        if score is not None:
            self.best_model_score = self.kth_value = score
            self.best_k_models = {str(kept): score}
            self.kth_best_model_path = str(kept)


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    return {
        "mmfuse": mmfuse.__version__,
        "python": platform.python_version(),
        **{library: version(library) for library in _LIBRARIES},
    }


class RunRecord(Callback):
    """Writes ``run.json`` (versions, seed, device, model) and the data's splits and masks."""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes the record before the first step, so that a failed run has one too."""
        log_dir = trainer.log_dir  # every process asks, as the first one tells the others
        if not trainer.is_global_zero or log_dir is None:
            return
        folder = Path(log_dir)
        seed = os.environ.get("PL_GLOBAL_SEED")  # where Lightning's seed_everything leaves it
        parameters = sum(p.numel() for p in pl_module.parameters())
        write_json(
            {
                "started": datetime.now(UTC).isoformat(timespec="seconds"),
                "versions": versions(),
                "seed": int(seed) if seed else None,
                "device": str(trainer.strategy.root_device),
                "processes": trainer.world_size,
                "parameters": parameters,
                "model": cast(FusionModel, pl_module.model).describe(),
            },
            folder / "run.json",
        )
        trainer.datamodule.save(folder)  # type: ignore[attr-defined]
