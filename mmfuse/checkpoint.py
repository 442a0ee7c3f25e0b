"""Checkpoints: weights and the plain-data description that rebuilds the model around them."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import mmfuse
from mmfuse.errors import CheckpointError, MissingFileError
from mmfuse.files import replacing
from mmfuse.model import FusionModel
from mmfuse.recorded import Recorded, describe
from mmfuse.spec import DataSpec

FORMAT = 1
_PREFIX = "model."


def describe_run(
    model: FusionModel,
    objectives: list[Any] | None = None,
    missing: Recorded | None = None,
    modality_dropout: Recorded | None = None,
) -> dict[str, Any]:
    """What a checkpoint says of itself: how to build the model, and how it was trained."""
    return {
        "format": FORMAT,
        "version": mmfuse.__version__,
        "model": model.describe(),
        "objectives": [describe(o) for o in objectives or []],
        "missing": describe(missing) if missing else None,
        "modality_dropout": describe(modality_dropout) if modality_dropout else None,
    }


def save(model: FusionModel, path: str | Path) -> Path:
    """Writes a model to one file that ``load`` reads, all of it or nothing.

    Raises:
        OutputError: the folder cannot be written.
        ConfigError: a part of the model cannot be described in plain data.
    """
    path = Path(path)
    state = {_PREFIX + name: value for name, value in model.state_dict().items()}
    content = {"mmfuse": describe_run(model), "state_dict": state}
    with replacing(path) as part:
        torch.save(content, part)
    return path


def read(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint, nothing of it unpickled but tensors and plain data.

    Raises:
        MissingFileError: there is no such file.
        CheckpointError: it is corrupt, or mmfuse did not make it.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"There is no checkpoint at {path}. Check the path.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # hints about foreign pickles, refused below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, KeyError) as error:
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint; it is corrupt, cut short, or holds objects "
            f"other than tensors and plain data ({type(error).__name__})."
        ) from error
    if not isinstance(content, dict) or "mmfuse" not in content:
        raise CheckpointError(
            f"{path} was not made by mmfuse: it lacks the description of a model. "
            "Give a checkpoint that mmfuse.Trainer or mmfuse.save wrote."
        )
    if content["mmfuse"]["format"] > FORMAT:
        raise CheckpointError(
            f"{path} has checkpoint format {content['mmfuse']['format']}, this mmfuse reads up to "
            f"{FORMAT}. Install mmfuse {content['mmfuse']['version']} or later."
        )
    return content


def spec_of(path: str | Path) -> DataSpec:
    """What the data looked like that a checkpoint's model was trained on.

    Raises:
        MissingFileError, CheckpointError: as ``read``.
    """
    return DataSpec.from_dict(read(path)["mmfuse"]["model"]["spec"])


def load(path: str | Path) -> FusionModel:
    """A ready model in eval mode, with its preprocessing, whoever built it and however.

    Raises:
        MissingFileError: there is no such file.
        CheckpointError: it is corrupt, or its weights do not fit its description.
    """
    content = read(path)
    model = FusionModel.rebuild(content["mmfuse"]["model"])
    state = {
        name.removeprefix(_PREFIX): value
        for name, value in content["state_dict"].items()
        if name.startswith(_PREFIX)
    }
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: the weights do not fit the model: {error}") from error
    return model.eval()


def require_same_model(model: FusionModel, checkpoint: Mapping[str, Any]) -> FusionModel:
    """The checkpoint's model, fresh, if it is of the same architecture as ``model``.

    Statistics that the training data left in the description (means, deviations, class
    weights) are the checkpoint's; everything else must agree.

    Raises:
        CheckpointError: naming each part that differs.
    """
    if "mmfuse" not in checkpoint:
        raise CheckpointError("The checkpoint was not made by mmfuse; it describes no model.")
    found, wanted = checkpoint["mmfuse"]["model"], model.describe()
    # An older checkpoint lacks what specs have learned to say since.
    found = {**found, "spec": DataSpec.from_dict(found["spec"]).to_dict()}
    differing = _differences(found, wanted)
    orders = list(found["encoders"]), list(wanted["encoders"])
    if orders[0] != orders[1] and not differing:
        differing = [f"fusion order: checkpoint has {orders[0]}, configuration has {orders[1]}"]
    if differing:
        raise CheckpointError(
            "The checkpoint is of another model. "
            + "; ".join(differing)
            + ". Give the configuration that the checkpoint was trained with."
        )
    return FusionModel.rebuild(found)


_STATISTICS = frozenset({"mean", "std", "weights"})


def _differences(found: Any, wanted: Any, where: str = "") -> list[str]:
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        if found.get("class_path") != wanted.get("class_path"):
            # Options of another class would only bury the difference that matters.
            found, wanted = ({"class_path": d.get("class_path")} for d in (found, wanted))
        keys = [k for k in {**found, **wanted} if k not in _STATISTICS]
        return [
            difference
            for k in keys
            for difference in _differences(found.get(k), wanted.get(k), f"{where}.{k}".strip("."))
        ]
    same = found == wanted or (
        isinstance(found, list | tuple)
        and isinstance(wanted, list | tuple)
        and list(found) == list(wanted)
    )
    told = f"checkpoint has {_short(found)}, configuration has {_short(wanted)}"
    return [] if same else [f"{where}: {told}"]


def _short(value: Any) -> str:
    words = repr(value)  # a tokenizer's fills pages
    return words if len(words) <= 200 else f"{words[:100]}... ({len(words)} characters)"
