"""Restored: the model in a checkpoint of a recommendation task, over the data it came of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from mmfuse import checkpoint
from mmfuse.errors import CheckpointError
from mmfuse.recommend.data import RecommendationData
from mmfuse.recommend.model import RecommendationModel
from mmfuse.recommend.recommender import Recommender

_PREFIX = "model."


def restored(path: str | Path, data: RecommendationData) -> RecommendationModel:
    """The trained model in eval mode; the data takes its statistics and preprocessing.

    Args:
        path: a checkpoint of a training run.
        data: the interactions and items that it was trained on.

    Raises:
        MissingFileError, CheckpointError: as ``Recommender.load``; or the file has vectors alone,
            or is of other users, items or training interactions than ``data``.
        ConfigError: the data lacks the item modalities that the model reads.
    """
    content, known = checkpoint.read(path), Recommender.load(path)
    if "recommendation" not in content["mmfuse"]:
        raise CheckpointError(
            f"{path} holds vectors of users and items, and no model that made them. Give a "
            "checkpoint of a training run."
        )
    _require_same(known, data, str(path))
    model = RecommendationModel.rebuild(content["mmfuse"]["recommendation"])
    try:
        model.load_state_dict(checkpoint.under(_PREFIX, content["state_dict"]))
    except RuntimeError as error:
        raise CheckpointError(f"{path}: the weights do not fit the model: {error}") from error
    if model.tower is not None:
        data.adopt(model.tower.spec)
        data.attach(model.tower.preprocess)
    model.attach(data.catalogue, data.interactions)
    return model.eval()


def _require_same(known: Recommender, data: RecommendationData, path: str) -> None:
    found = data.interactions
    train = found.lists("train")
    same = {
        "users": np.array_equal(known.user_ids.values, found.user_ids),
        "items": np.array_equal(known.item_ids.values, found.item_ids),
        "training interactions": torch.equal(known.seen.offsets, train.offsets)
        and torch.equal(known.seen.items, train.items),
    }
    if differing := [name for name, is_same in same.items() if not is_same]:
        raise CheckpointError(
            f"{path} was trained with other {' and '.join(differing)} than the data has. Give the "
            "same data, with the same split and seed."
        )
