"""References: ``best:NAME`` in a configuration stands for a checkpoint of an earlier stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jsonargparse import Namespace

PREFIX = "best:"


def names_in(value: Any) -> Iterator[str]:
    """The stages whose checkpoints a configuration reads, in its order.

    Args:
        value: plain data, or what jsonargparse made of it.

    Example:
        >>> list(names_in({"model": {"team": "best:cotrain"}, "start_from": None}))
        ['cotrain']
    """
    if isinstance(value, str) and value.startswith(PREFIX):
        yield value.removeprefix(PREFIX)
    for part in _parts(value):
        yield from names_in(part)


def with_paths(value: Any, paths: Mapping[str, str]) -> Any:
    """A copy in which paths stand for references; those to other stages stay.

    Args:
        value: plain data, or what jsonargparse made of it.
        paths: by the name of a stage.
    """
    if isinstance(value, str):
        return paths.get(value.removeprefix(PREFIX), value) if value.startswith(PREFIX) else value
    if isinstance(value, Namespace):
        return Namespace(**{k: with_paths(v, paths) for k, v in vars(value).items()})
    if isinstance(value, dict):
        return {k: with_paths(v, paths) for k, v in value.items()}
    if isinstance(value, list):
        return [with_paths(v, paths) for v in value]
    return value


def _parts(value: Any) -> list[Any]:
    if isinstance(value, Namespace):
        return list(vars(value).values())
    if isinstance(value, Mapping):
        return list(value.values())
    return list(value) if isinstance(value, list | tuple) else []
