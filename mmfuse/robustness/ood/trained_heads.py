"""unimodal_heads: the heads of each modality that were trained beside a checkpoint's model."""

from __future__ import annotations

from pathlib import Path

from mmfuse.checkpoint import read
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
    told = content["mmfuse"].get("objectives", [])
    for place, description in enumerate(told):
        objective = rebuild(description, base=Objective)
        if not isinstance(objective, UnimodalLoss):
            continue
        objective.build(model)
        prefix = f"objectives.{place}."
        state = {
            name.removeprefix(prefix): value
            for name, value in content["state_dict"].items()
            if name.startswith(prefix)
        }
        try:
            objective.load_state_dict(state)
        except RuntimeError as error:
            raise CheckpointError(
                f"{path}: the unimodal heads do not fit the model: {error}. Give the model of the "
                "same checkpoint."
            ) from error
        return objective.eval()
    found = ", ".join(d["class_path"].rpartition(".")[2] for d in told) or "none"
    raise CheckpointError(
        f"{path} has no unimodal heads; its objectives are: {found}. Train with UnimodalLoss, A2D "
        "or NPMix among them."
    )
