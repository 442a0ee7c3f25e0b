"""What `mmfuse retrieve` does: an aligned model and its data -> scores of every direction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import lightning as L
import pandas as pd
import torch
from rich.console import Console
from rich.progress import track

from mmfuse import checkpoint
from mmfuse.data import FusionDataModule
from mmfuse.errors import ConfigError
from mmfuse.model import FusionModel
from mmfuse.retrieval import report
from mmfuse.retrieval.labels import Labels
from mmfuse.tasks import AlignmentTask, FusionTask
from mmfuse.tasks.alignment_scores import AlignmentScores

Split = Literal["train", "val", "test"]


def retrieve_run(
    data: FusionDataModule,
    folder: str | Path,
    task: L.LightningModule | None = None,
    ckpt_path: str | Path | None = None,
    split: Split = "test",
    ks: Sequence[int] = (1, 5, 10),
    device: torch.device | str = "cpu",
    is_shown: bool = True,
) -> pd.DataFrame:
    """Scores how a model's modalities find each other, with natural gaps alone.

    The folder gets ``retrieval.csv`` and ``retrieval.png``.

    Args:
        data: where the rows are.
        folder: of the results.
        task: a trained one; an ``AlignmentTask`` says whose classes count and how their names
            are written.
        ckpt_path: a checkpoint instead of the task's model.
        split: the rows.
        ks: where to measure recall.
        device: where to compute.
        is_shown: show a progress bar, and the table.

    Raises:
        ConfigError: nothing trained, no known split, one modality, or unequal widths.
        DataError: no rows, or none that can be scored.
    """
    if split not in ("train", "val", "test"):
        raise ConfigError(f"split is {split!r}; expected train, val or test.")
    model = _trained(data, task, ckpt_path).to(device).eval()
    if len(set(model.dims.values())) > 1 or len(model.dims) < 2:
        raise ConfigError(
            f"The model's encoders give {model.dims}; retrieval takes two or more of one width, "
            "trained into one space as by AlignmentTask."
        )
    data.attach(model.preprocess)
    labels = task.labels if isinstance(task, AlignmentTask) else Labels()
    labels.check(model)
    found, batches = AlignmentScores(model, labels), data.loader(split, missing=None)
    console = Console(stderr=True)
    with torch.inference_mode():
        for batch in track(batches, "encoding", console=console, disable=not is_shown):
            on_device = batch.to(device)
            found.add(on_device, model.encode(on_device))
        whole = found.whole()
        assert whole is not None  # an empty split has no loader
        directions = found.directions(whole, report.curve_ks(ks, len(whole["row"])))
        table = report.frame(directions, found.zero_shot(whole))
    folder = Path(folder)
    report.write(table, folder, f"{split} rows")
    if is_shown:
        report.show(table, ks)
        print(f"Retrieval: {folder}/retrieval.csv, {folder}/retrieval.png")
    return table


def _trained(
    data: FusionDataModule, task: L.LightningModule | None, ckpt_path: str | Path | None
) -> FusionModel:
    if ckpt_path is not None:
        model = checkpoint.load(ckpt_path)
        data.adopt(model.spec)
        return model
    if not isinstance(task, FusionTask) or task.model is None:
        raise ConfigError(
            "There is no trained model to retrieve with. Give a checkpoint, such as "
            "--ckpt_path=best; or extracted features: mmfuse retrieve --features FOLDER."
        )
    return task.model
