"""What objectives learned, in checkpoints of tasks that have other objectives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from mmfuse.errors import CheckpointError

_OBJECTIVES = "objectives."


def evaluated_state(
    own: Mapping[str, Tensor], terms: Sequence[str], checkpoint: Mapping[str, Any]
) -> dict[str, Tensor]:
    """A checkpoint's weights as a task loads them to score or predict.

    Each objective takes what its namesake learned, wherever that stands in the checkpoint's list.
    What the task has no objective for is left out, and an objective that the checkpoint lacks
    stays as it is: the model does not need them.

    Args:
        own: the task's state.
        terms: its objectives' class paths, in its order.
        checkpoint: of the same model.
    """
    found: Mapping[str, Tensor] = checkpoint["state_dict"]
    theirs = [d["class_path"] for d in checkpoint["mmfuse"]["objectives"]]
    place_of: dict[str, int] = {}
    for place, term in enumerate(terms):
        if term in theirs:
            place_of[str(place)] = theirs.index(term)
            theirs[theirs.index(term)] = ""  # each serves once
    state = {k: v for k, v in found.items() if k.startswith("model.")}
    for name, value in own.items():
        if name.startswith("model."):
            continue
        namesake = name
        if name.startswith(_OBJECTIVES):
            mine, _, rest = name.removeprefix(_OBJECTIVES).partition(".")
            namesake = f"{_OBJECTIVES}{place_of.get(mine)}.{rest}"
        learned = found.get(namesake, value)
        state[name] = learned if learned.shape == value.shape else value
    return state


def require_same_terms(own: Mapping[str, Tensor], checkpoint: Mapping[str, Any]) -> None:
    """Checks that a run can go on with what objectives have learned.

    Args:
        own: the task's state.
        checkpoint: of the same model, with the state of a run.

    Raises:
        CheckpointError: the task's objectives learn other things.
    """
    found, mine = (
        {k: v.shape for k, v in state.items() if k.startswith(_OBJECTIVES)}
        for state in (checkpoint["state_dict"], own)
    )
    if found == mine:
        return
    differing = sorted(k for k in found.keys() | mine.keys() if found.get(k) != mine.get(k))
    names = [d["class_path"].rpartition(".")[2] for d in checkpoint["mmfuse"]["objectives"]]
    raise CheckpointError(
        f"The checkpoint is of a run with the objectives {names}, which learn other things than "
        f"this task's: they differ in {differing[:5]}. Go on with the objectives of that run, or "
        "begin a new one with its weights: start_from in place of ckpt_path."
    )
