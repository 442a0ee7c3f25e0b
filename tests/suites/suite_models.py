"""A small trained classifier of three modalities, and its data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmfuse import ArrayData, SupervisedTask, Trainer
from mmfuse.robustness.findings import Findings
from mmfuse.suites import Suite

QUIET = {"enable_progress_bar": False, "enable_model_summary": False}


def planted(seed: int = 0, rows: int = 240, shift: float = 0.0, **options) -> ArrayData:
    """Two views that tell the class, one of which some rows lack, and a third that is noise."""
    draw = np.random.default_rng(seed)
    label = draw.integers(0, 3, rows)
    centre = np.eye(3)[label] * 2 + shift
    inputs = {
        "left": centre + draw.normal(size=(rows, 3)),
        "right": centre + draw.normal(size=(rows, 3)),
        "noise": draw.normal(size=(rows, 2)),
    }
    inputs["right"][draw.random(rows) < 0.2] = np.nan
    return ArrayData(inputs, [f"class {k}" for k in label], seed=0, batch_size=32, **options)


def paired(seed: int = 0, rows: int = 200, **options) -> ArrayData:
    """Two views of one hidden thing; a tenth of the rows lack the second."""
    draw = np.random.default_rng(seed)
    hidden = draw.normal(size=(rows, 4))
    views = {
        "left": hidden @ draw.normal(size=(4, 6)) + 0.1 * draw.normal(size=(rows, 6)),
        "right": hidden @ draw.normal(size=(4, 5)) + 0.1 * draw.normal(size=(rows, 5)),
    }
    views["right"][::10] = np.nan
    return ArrayData(views, **options)


@dataclass(frozen=True)
class Trained:
    """A task, its trainer and the checkpoint of its best epoch."""

    task: SupervisedTask
    trainer: Trainer
    checkpoint: Path


def study(trained: Trained, folder: Path, suites: list[Suite], **options) -> Findings:
    """What a quick study of the classifier finds; its data unless others are given."""
    found = trained.trainer.robustness(
        trained.task, options.pop("data", None) or planted(), trained.checkpoint,
        out=folder, suites=suites, bootstrap=0, mcar_rates=[0.5], **options,
    )  # fmt: skip
    assert isinstance(found, Findings)
    return found
