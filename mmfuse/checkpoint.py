"""Checkpoints: weights and the plain-data description that rebuilds the model around them."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import mmfuse
from mmfuse.errors import CheckpointError, MissingFileError
from mmfuse.files import replacing
from mmfuse.model import FusionModel
from mmfuse.recorded import Recorded, describe, with_defaults
from mmfuse.spec import DataSpec

FORMAT = 1
_PREFIX = "model."


def about() -> dict[str, Any]:
    """What every checkpoint says of itself: its format, and who wrote it."""
    return {"format": FORMAT, "version": mmfuse.__version__}


def describe_run(
    model: FusionModel,
    objectives: list[Any] | None = None,
    missing: Recorded | None = None,
    modality_dropout: Recorded | None = None,
) -> dict[str, Any]:
    """What a checkpoint says of itself: how to build the model, and how it was trained."""
    return {
        **about(),
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
    return write(whole(model), path)


def whole(model: FusionModel) -> dict[str, Any]:
    """A model's description and weights, as ``read`` gives them.

    Raises:
        ConfigError: a part of the model cannot be described in plain data.
    """
    state = {_PREFIX + name: value for name, value in model.state_dict().items()}
    return {"mmfuse": describe_run(model), "state_dict": state}


def write(content: Mapping[str, Any], path: str | Path) -> Path:
    """Writes a description and tensors to one file, which ``load`` and ``test`` read.

    Raises:
        OutputError: the folder cannot be written.
    """
    path = Path(path)
    with replacing(path) as part, part.open("wb") as file:  # torch's own errors are no OSError
        # Lightning refuses to read what does not say which Lightning wrote it.
        torch.save({"pytorch-lightning_version": version("lightning"), **content}, file)
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


def spec_of(path: str | Path) -> DataSpec | None:
    """What the data looked like that a checkpoint's model was trained on.

    Of a recommender it is that of the items' modalities; None where they have none.

    Raises:
        MissingFileError, CheckpointError: as ``read``.
    """
    told = read(path)["mmfuse"]
    model = told.get("model", told.get("gpvae")) or told.get("recommendation", {}).get("tower")
    return None if model is None else DataSpec.from_dict(model["spec"])


def load(path: str | Path) -> FusionModel:
    """A ready model in eval mode, with its preprocessing, whoever built it and however.

    Raises:
        MissingFileError: there is no such file.
        CheckpointError: it is corrupt, or its weights do not fit its description.
    """
    return restore(read(path), str(path))


def restore(content: Mapping[str, Any], name: str) -> FusionModel:
    """A ready model in eval mode from what ``read`` gives.

    Args:
        content: a description and tensors.
        name: what an error calls the checkpoint.

    Raises:
        CheckpointError: the weights do not fit the description, or it is of a recommender.
    """
    model = FusionModel.rebuild(described(content, name))
    try:
        model.load_state_dict(under(_PREFIX, content["state_dict"]))
    except RuntimeError as error:
        raise CheckpointError(f"{name}: the weights do not fit the model: {error}") from error
    return model.eval()


def under(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a state whose names begin with ``prefix``, without it.

    Example:
        >>> under("model.", {"model.bias": torch.zeros(1), "optimizer": torch.zeros(2)})
        {'bias': tensor([0.])}
    """
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def described(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The description of a checkpoint's FusionModel.

    Args:
        content: a description and tensors.
        name: what an error calls the checkpoint.

    Raises:
        CheckpointError: it is of a recommender or a GPVAE, or mmfuse did not make it.
    """
    if "mmfuse" not in content:
        raise CheckpointError(f"{name} was not made by mmfuse; it describes no model.")
    if "gpvae" in content["mmfuse"]:
        raise CheckpointError(
            f"{name} holds a GPVAE, which mmfuse.gpvae.MMGPVAE.load reads. Give the checkpoint "
            "of a task that predicts or aligns."
        )
    if "model" not in content["mmfuse"]:
        raise CheckpointError(
            f"{name} holds a recommender, which serves with mmfuse.Recommender.load or mmfuse "
            "recommend. Give the checkpoint of a task that predicts or aligns."
        )
    found: Mapping[str, Any] = content["mmfuse"]["model"]
    return found


def require_same_model(model: FusionModel, checkpoint: Mapping[str, Any]) -> FusionModel:
    """The checkpoint's model, fresh, if it is of the same architecture as ``model``.

    Statistics that the training data left in the description (means, deviations, class
    weights and shares) are the checkpoint's; everything else must agree.

    Raises:
        CheckpointError: naming each part that differs.
    """
    found, wanted = dict(described(checkpoint, "The checkpoint")), model.describe()
    if differing := differences(found, wanted, ("checkpoint", "configuration")):
        raise CheckpointError(
            "The checkpoint is of another model. "
            + "; ".join(differing)
            + ". Give the configuration that the checkpoint was trained with."
        )
    return FusionModel.rebuild(found | {"spec": _current(found["spec"])})


#: What training data leave in a description; models that differ in nothing else are alike.
STATISTICS = frozenset({"mean", "std", "weights", "shares"})
#: That, and options by which a model is trained, with the same weights and the same output.
ALIKE = STATISTICS | {"dropout", "frozen"}


def differences(
    found: Mapping[str, Any],
    wanted: Mapping[str, Any],
    names: tuple[str, str],
    aside: frozenset[str] = STATISTICS,
) -> list[str]:
    """Each part in which two models' descriptions differ, in words; empty for none.

    Args:
        found: one description, as ``FusionModel.describe`` gives it.
        wanted: the other.
        names: what to call the two.
        aside: keys in which they may differ.
    """
    # An older checkpoint lacks what specs have learned to say since.
    found, wanted = (with_defaults({**d, "spec": _current(d["spec"])}) for d in (found, wanted))
    differing = list(_differences(found, wanted, "", names, aside))
    orders = list(found["encoders"]), list(wanted["encoders"])
    if orders[0] != orders[1] and not differing:
        told = (f"{name} has {order}" for name, order in zip(names, orders, strict=True))
        return [f"fusion order: {', '.join(told)}"]
    return differing


def differing_parts(
    found: Mapping[str, Any], wanted: Mapping[str, Any], names: tuple[str, str]
) -> list[str]:
    """Each part in which two descriptions in plain data differ, in words; defaults stated alike.

    Args:
        found: one description.
        wanted: the other.
        names: what to call the two.
    """
    return list(_differences(with_defaults(found), with_defaults(wanted), "", names, frozenset()))


def _current(spec: Mapping[str, Any]) -> dict[str, Any]:
    return DataSpec.from_dict(spec).to_dict()


def _differences(
    found: Any, wanted: Any, where: str, names: tuple[str, str], aside: frozenset[str]
) -> Iterator[str]:
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        if found.get("class_path") != wanted.get("class_path"):
            # Options of another class would only bury the difference that matters.
            found, wanted = ({"class_path": d.get("class_path")} for d in (found, wanted))
        for k in {**found, **wanted}:
            if k not in aside:
                deeper = f"{where}.{k}".strip(".")
                yield from _differences(found.get(k), wanted.get(k), deeper, names, aside)
        return
    same = found == wanted or (
        isinstance(found, list | tuple)
        and isinstance(wanted, list | tuple)
        and list(found) == list(wanted)
    )
    if not same:
        yield f"{where}: {names[0]} has {_short(found)}, {names[1]} has {_short(wanted)}"


def _short(value: Any) -> str:
    words = repr(value)  # a tokenizer's fills pages
    return words if len(words) <= 200 else f"{words[:100]}... ({len(words)} characters)"
