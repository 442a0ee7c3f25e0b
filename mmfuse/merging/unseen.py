"""Rows that choose between models must not have trained them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mmfuse.data import FusionDataModule
from mmfuse.data.datamodule import content_of
from mmfuse.errors import ConfigError


def require_unseen(paths: Sequence[str | Path], data: FusionDataModule) -> None:
    """Refuses validation rows that trained one of the models.

    What trained a model is on record in its run's folder, where a checkpoint that was moved
    away leaves it; such a checkpoint is trusted.

    Args:
        paths: the checkpoints.
        data: whose validation rows are to choose.

    Raises:
        ConfigError: a run on the same data trained on some of these rows, naming how many.
    """
    wanted = set(data.rows("val").tolist())
    content = data.content()
    for path in map(Path, paths):
        run = path.resolve().parent.parent
        if not (run / "rows.parquet").is_file() or not (run / "data.json").is_file():
            continue
        if content_of(json.loads((run / "data.json").read_text())["settings"]) != content:
            continue  # row numbers of other data mean nothing here
        rows = pd.read_parquet(run / "rows.parquet", columns=["row", "split"])
        if seen := wanted & set(rows.loc[rows["split"] == "train", "row"]):
            raise ConfigError(
                f"{len(seen)} of the {len(wanted)} validation rows trained {path}, whose run drew "
                "another split: a choice by them would favour it. Train all models, and merge "
                "them, with one data.split_seed or one split column."
            )
