"""Stated: in what a checkpoint's model is another than the configuration beside it says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmfuse.checkpoint import ALIKE
from mmfuse.recorded import with_defaults
from mmfuse.tasks.base import FusionTask

# They stand in a model for the encoder that a configuration names.
_STAND_INS = ("CachedEncoder", "ProjectedEncoder")


def otherwise_stated(task: FusionTask, content: Mapping[str, Any]) -> list[str]:
    """Each part in which a checkpoint's model differs from what a task states, in words.

    Only what a configuration names counts: the class of the fusion and of each encoder, and their
    options. Data are not read and nothing is built, so that weights of pretrained encoders stay
    where they are.

    Args:
        task: as the configuration gives it, not built yet.
        content: of the checkpoint, as ``checkpoint.read`` gives it.
    """
    model, stated = content["mmfuse"].get("model"), task.settings()
    if model is None:
        return []
    model = with_defaults(model)
    parts = list(_part("fusion", model["fusion"], stated["fusion"]))
    encoders = dict(stated["encoders"])
    every = encoders.pop("*", None)
    if encoders and every is None and set(encoders) != set(model["encoders"]):
        parts.append(
            f"encoders: the checkpoint has those of {list(model['encoders'])}, the configuration "
            f"those of {list(encoders)}"
        )
    for m, found in model["encoders"].items():
        if _name(found) not in _STAND_INS:
            parts += _part(f"encoder of {m!r}", found, encoders.get(m, every))
    return parts


def _part(where: str, found: Mapping[str, Any], stated: Any) -> Iterator[str]:
    if not isinstance(stated, Mapping):  # a default, or a name that Python code gives
        return
    if _name(found) != _name(stated):
        yield f"{where}: the checkpoint has {_name(found)}, the configuration {_name(stated)}"
        return
    own = found.get("init_args", {})
    for option, value in stated.get("init_args", {}).items():
        if option in own and option not in ALIKE and _differs(own[option], value):
            has = _name(own[option]) if isinstance(own[option], Mapping) else repr(own[option])
            yield f"{where}, {option}: the checkpoint has {has}, the configuration {value!r}"


def _differs(found: Any, stated: Any) -> bool:
    if isinstance(found, Mapping):  # a part of a part, of which the words tell the class
        return "class_path" in found and str(stated).partition("(")[0] != _name(found)
    if isinstance(found, list | tuple):
        return not isinstance(stated, list | tuple) or list(found) != list(stated)
    return bool(found != stated)


def _name(described: Mapping[str, Any]) -> str:
    return str(described["class_path"]).rpartition(".")[2]
