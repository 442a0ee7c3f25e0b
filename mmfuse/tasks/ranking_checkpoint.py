"""What a checkpoint of a recommendation task holds, and the model in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mmfuse.checkpoint import about, differences, differing_parts
from mmfuse.errors import CheckpointError
from mmfuse.recommend.model import RecommendationModel
from mmfuse.recommend.serving import Recommender, serving_state
from mmfuse.recorded import describe


def contents(
    model: RecommendationModel, objectives: Iterable[Any], recommender: Recommender
) -> dict[str, Any]:
    """What a checkpoint holds besides weights: plain data, so that it loads without unpickling.

    Args:
        model: what ``model_in`` builds again.
        objectives: what it is trained for.
        recommender: what ``Recommender.load`` reads.
    """
    description, tensors = serving_state(recommender)
    said = {
        **about(),
        "recommendation": model.describe(),
        "objectives": [describe(o) for o in objectives],
        "recommender": description,
    }
    return {"mmfuse": said, "serving": tensors}


def model_in(
    checkpoint: Mapping[str, Any], wanted: RecommendationModel | None
) -> RecommendationModel:
    """The model that a checkpoint describes, without its weights.

    Args:
        checkpoint: as read.
        wanted: a model that has to be of the same architecture; None for any.

    Raises:
        CheckpointError: the checkpoint is of another task, or of another model; naming what
            differs.
    """
    found = checkpoint.get("mmfuse", {}).get("recommendation")
    if found is None:
        raise CheckpointError(
            "The checkpoint is of another task. Give one that RecommendationTask made."
        )
    if wanted is not None:
        _require_same(found, wanted.describe())
    return RecommendationModel.rebuild(found)


def _require_same(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    differing = []
    if found["tower"] is not None and wanted["tower"] is not None:
        names = ("checkpoint", "configuration")
        differing += differences(found["tower"], wanted["tower"], names)
    mine, theirs = (
        {k: v for k, v in d.items() if k not in ("tower", "modality_dropout")}
        | {"tower": d["tower"] is None}
        for d in (found, wanted)
    )
    differing += differing_parts(mine, theirs, ("checkpoint", "configuration"))
    if differing:
        raise CheckpointError(
            "The checkpoint is of another model. "
            + "; ".join(differing)
            + ". Give the configuration and the data that the checkpoint was trained with."
        )
