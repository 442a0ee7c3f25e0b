"""What the studies share: a preset's task, and one run under the protocol of README.md."""

from __future__ import annotations

import copy
import tempfile
import time
from pathlib import Path
from typing import Any

import lightning as L
import yaml
from jsonargparse import ArgumentParser
from lightning.pytorch.callbacks import EarlyStopping

from mmfuse import Trainer
from mmfuse.lazy import import_names
from mmfuse.recommend import RecommendationData
from mmfuse.registry import import_all
from mmfuse.tasks import RecommendationTask

HERE = Path(__file__).parent
PRESETS, TUNED = HERE / "presets", HERE / "tuned"
#: Those of the study: neither set has times, which SASRec needs.
NAMES = sorted({p.stem for p in PRESETS.glob("*.yaml")} - {"sasrec"})
#: Epochs between evaluations, and evaluations without a better one before a run ends.
EVERY, PATIENCE = 2, 10


def preset(name: str, data: str | None = None) -> dict[str, Any]:
    """A preset as its file has it, or as it was tuned for a set."""
    file = PRESETS / f"{name}.yaml" if data is None else TUNED / data / f"{name}.yaml"
    if not file.is_file():
        raise SystemExit(f"{name} is not tuned for {data} yet: run tune.py --presets {name} first.")
    content: dict[str, Any] = yaml.safe_load(file.read_text())
    return content


def changed(content: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """The content with other values at dotted paths, whose parents must be there."""
    made = copy.deepcopy(content)
    for path, value in values.items():
        *parents, last = path.split(".")
        place: Any = made
        for step in parents:
            place = place[int(step)] if isinstance(place, list) else place[step]
        place[last] = value
    return made


def task_of(content: dict[str, Any]) -> RecommendationTask:
    """The task that a preset describes, as the command reads it."""
    import_all()
    import_names("mmfuse.recommend")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(L.LightningModule, "model")
    made: RecommendationTask = parser.instantiate(
        parser.parse_object({"model": content["model"]})
    ).model
    return made


def fitted(
    task: RecommendationTask,
    data: RecommendationData,
    seed: int,
    epochs: int,
    folder: str,
    callbacks: list[L.Callback] | None = None,
) -> L.Trainer:
    """The trainer of a run that ended by itself or after so many epochs."""
    stop = EarlyStopping("val/recall_at_20", mode="max", patience=PATIENCE)
    trainer = Trainer(
        max_epochs=epochs,
        default_root_dir=folder,
        logger=False,
        callbacks=[stop, *(callbacks or [])],
        check_val_every_n_epoch=EVERY,
        enable_progress_bar=False,
    )
    L.seed_everything(seed, verbose=False)
    trainer.fit(task, datamodule=data)
    return trainer


def trained(
    content: dict[str, Any], data: RecommendationData, seed: int, epochs: int
) -> dict[str, float]:
    """Test scores of the epoch that validation chose, and what the run took."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        L.seed_everything(seed, verbose=False)
        task = task_of(content)
        trainer = fitted(task, data, seed, epochs, folder)
        took = (time.process_time() - start) / trainer.current_epoch
        best = float(trainer.checkpoint_callback.best_model_score)  # type: ignore[union-attr]
        (found,) = trainer.test(task, datamodule=data, ckpt_path="best", verbose=False)
    scores = {name.removeprefix("test/"): value for name, value in found.items()}
    return scores | {
        "val_recall_at_20": best,
        "epochs": trainer.current_epoch,
        "cpu seconds an epoch": took,
    }
