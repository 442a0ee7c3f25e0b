"""Start: training begins at the weights of a model that was trained before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mmfuse.checkpoint import ALIKE, differences
from mmfuse.errors import CheckpointError
from mmfuse.model import FusionModel
from mmfuse.spec import DataSpec


def starting_spec(found: DataSpec, own: DataSpec) -> tuple[DataSpec, list[str]]:
    """What the data look like to a model that was trained before.

    Modalities are as that model knows them, with its means, deviations and levels. A target
    that it predicts stays as it knows it, but for class weights and shares, which are of the
    rows at hand; any other is the data's.

    Args:
        found: of the model.
        own: of the data.

    Returns:
        the spec, and the targets that need a new head.
    """
    targets, new = {}, []
    for name, mine in own.targets.items():
        theirs = found.targets.get(name)
        if theirs is not None and mine == replace(
            theirs, mean=mine.mean, std=mine.std, weights=mine.weights
        ):
            targets[name] = replace(theirs, weights=mine.weights, shares=mine.shares)
        else:
            targets[name] = mine
            new.append(name)
    return DataSpec(found.modalities, targets), new


def take_weights(
    model: FusionModel, content: Mapping[str, Any], new_heads: list[str], name: str
) -> None:
    """Gives a fresh model the weights of a checkpoint.

    Args:
        model: built for ``starting_spec``.
        content: what ``checkpoint.read`` gives.
        new_heads: targets whose heads stay as they are.
        name: what an error calls the checkpoint.

    Raises:
        CheckpointError: encoders or fusion differ, naming how.
    """
    mine, found = model.describe(), content["mmfuse"]["model"]
    # Its own targets are of no concern: their heads stay behind.
    found = {**found, "spec": {**found["spec"], "targets": mine["spec"]["targets"]}}
    found, mine = ({k: v for k, v in d.items() if k != "heads"} for d in (found, mine))
    if differing := differences(found, mine, ("it", "configuration"), ALIKE):
        raise CheckpointError(
            f"{name} is of another model: {'; '.join(differing)}. Start from a checkpoint with "
            "these encoders and this fusion, give its configuration, or begin afresh: start_from "
            "null."
        )
    fresh = tuple(f"heads.{t}." for t in new_heads)
    state = dict(model.state_dict())
    for key, value in content["state_dict"].items():
        key = key.removeprefix("model.")
        if key in state and not key.startswith(fresh):
            state[key] = value
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"{name}: the weights do not fit the model: {error}") from error
