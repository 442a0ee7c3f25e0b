"""unimodal_heads: the heads of each modality that were trained beside a checkpoint's model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmfuse.checkpoint import read, under
from mmfuse.errors import CheckpointError
from mmfuse.model import FusionModel
from mmfuse.objectives.base import Objective
from mmfuse.objectives.supervised import UnimodalLoss
from mmfuse.recorded import rebuild


def unimodal_heads(path: str | Path, model: FusionModel) -> UnimodalLoss:
    """The objective with one head a modality that a checkpoint holds, in eval mode.

    ``mmfuse.load`` gives the model alone; its objectives stay in the checkpoint.

    Args:
        path: a checkpoint that a task wrote.
        model: the checkpoint's model.

    Raises:
        MissingFileError: there is no such file.
        CheckpointError: no objective of the training had unimodal heads, or they are of another
            model.
    """
    content = read(path)
    for place, objective in enumerate(_objectives(content)):
        if not isinstance(objective, UnimodalLoss):
            continue
        objective.build(model)
        try:
            objective.load_state_dict(under(f"objectives.{place}.", content["state_dict"]))
        except RuntimeError as error:
            raise CheckpointError(
                f"{path}: the unimodal heads do not fit the model: {error}. Give the model of the "
                "same checkpoint."
            ) from error
        return objective.eval()
    found = ", ".join(type(o).__name__ for o in _objectives(content)) or "none"
    raise CheckpointError(
        f"{path} has no unimodal heads; its objectives are: {found}. Train with UnimodalLoss, A2D "
        "or NPMix among them."
    )


def has_unimodal_heads(path: str | Path) -> bool:
    """Whether ``unimodal_heads`` finds some in a checkpoint.

    Raises:
        MissingFileError, CheckpointError: it cannot be read.
    """
    return any(isinstance(o, UnimodalLoss) for o in _objectives(read(path)))


def _objectives(content: Mapping[str, Any]) -> list[Objective]:
    """The objectives of the training, built anew."""
    told = content["mmfuse"].get("objectives", [])
    return [rebuild(description, base=Objective) for description in told]
