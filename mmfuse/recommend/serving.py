"""Serving: what a checkpoint keeps of a recommender, so that it recommends without any data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mmfuse.checkpoint import under
from mmfuse.errors import CheckpointError
from mmfuse.recommend.lists import ItemLists
from mmfuse.recommend.recommender import Recommender
from mmfuse.recommend.scores import Score
from mmfuse.recorded import describe, rebuild

__all__ = ["Recommender", "from_state", "serving_state"]

_SCORE, _PARTS = "score.", "parts."


def serving_state(recommender: Recommender) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a checkpoint keeps of a recommender: ``content["mmfuse"]["recommender"]``, in plain
    data, and ``content["serving"]``, tensors.

    Raises:
        ConfigError: the score cannot be described in plain data.
    """
    tensors = {
        "users": recommender.users,
        "items": recommender.items,
        "offsets": recommender.seen.offsets,
        "seen": recommender.seen.items,
    }
    tensors |= {_SCORE + name: value for name, value in recommender.score.state_dict().items()}
    if recommender.parts is not None:
        tensors |= {_PARTS + name: value for name, value in recommender.parts.parts.items()}
    description: dict[str, Any] = {"score": describe(recommender.score)}
    for name, ids in (("user_ids", recommender.user_ids), ("item_ids", recommender.item_ids)):
        state = ids.state()
        if isinstance(state, Tensor):
            tensors[name] = state
        else:
            description[name] = state
    return description, {name: value.detach().cpu() for name, value in tensors.items()}


def from_state(description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Recommender:
    """The recommender that ``serving_state`` described.

    Raises:
        CheckpointError: a part is lacking, or the score cannot be built.
        DataError: parts that do not agree.
    """
    ids = {**description, **tensors}
    needed = ("users", "items", "offsets", "seen", "user_ids", "item_ids", "score")
    if lacking := [name for name in needed if name not in ids]:
        raise CheckpointError(f"The recommender of the checkpoint lacks {', '.join(lacking)}.")
    score: Score = rebuild(description["score"], base=Score)
    score.load_state_dict(under(_SCORE, tensors))
    seen = ItemLists(tensors["offsets"], tensors["seen"], len(tensors["items"]))
    return Recommender(
        tensors["users"],
        tensors["items"],
        seen,
        ids["user_ids"],
        ids["item_ids"],
        score.eval(),
        under(_PARTS, tensors) or None,
    )
