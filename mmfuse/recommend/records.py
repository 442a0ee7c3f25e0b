"""Records: the interactions and the items of a run, as files that other tools read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from mmfuse.files import replacing
from mmfuse.recommend.ready import Ready
from mmfuse.store import SPLITS


def write(ready: Ready, folder: Path) -> None:
    """Writes ``interactions.parquet`` and ``items.parquet``.

    The first has each pair's user, item and split, by their ids; the second each item's id,
    how many users took it in training, and which modalities it has (``has_<m>``), shows in
    training (``shown_<m>``) and in test (``shown_in_test_<m>``).

    Raises:
        OutputError: the folder cannot be written.
    """
    known, catalogue = ready.interactions, ready.catalogue
    pairs: dict[str, Any] = {
        "user": known.user_ids[known.user.numpy()],
        "item": known.item_ids[known.item.numpy()],
        "split": np.array(SPLITS)[known.split.numpy()],
    }
    for name, values in (("time", known.time), ("rating", known.rating)):
        if values is not None:
            pairs[name] = values.numpy()
    taken = torch.bincount(known.pairs("train")[1], minlength=known.item_count)
    items: dict[str, Any] = {"item": known.item_ids, "taken": taken.numpy()}
    if catalogue is not None:
        masks = {
            "has": catalogue.presence("train", None),
            "shown": catalogue.presence("train"),
            "shown_in_test": catalogue.presence("test"),
        }
        for i, m in enumerate(catalogue.modalities):
            items |= {f"{name}_{m}": mask[:, i].numpy() for name, mask in masks.items()}
    for name, columns in (("interactions", pairs), ("items", items)):
        with replacing(folder / f"{name}.parquet") as part:
            pd.DataFrame(columns).to_parquet(part)
