"""Layers: one configuration over another, as a stage's own keys lie over what all stages share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_OF_A_CLASS = ("class_path", "init_args", "dict_kwargs")


def layered(shared: Any, own: Any) -> Any:
    """What both say, where ``own`` has the last word.

    Mappings are joined key by key, lists and single values replaced. What names another class
    replaces the shared one whole: no option of the old class is left for the new one to read.

    Args:
        shared: plain data, as YAML gives it.
        own: the same.

    Example:
        >>> shared = {"fusion": {"class_path": "GatedFusion", "init_args": {"out_dim": 8}}, "n": 1}
        >>> layered(shared, {"fusion": {"init_args": {"hidden": 4}}})["fusion"]["init_args"]
        {'out_dim': 8, 'hidden': 4}
        >>> layered(shared, {"fusion": {"class_path": "ConcatFusion"}})
        {'fusion': {'class_path': 'ConcatFusion'}, 'n': 1}
    """
    if isinstance(shared, str) and isinstance(own, Mapping) and "init_args" in own:
        shared = {"class_path": shared}
    if not isinstance(shared, Mapping) or not isinstance(own, Mapping):
        return own
    if any(key in part for part in (shared, own) for key in _OF_A_CLASS):
        before, after = _spread(shared), _spread(own)
        if _is_other(before.get("class_path"), after.get("class_path")):
            return own
        shared, own = before, after
    joined = dict(shared)
    for key, value in own.items():
        joined[key] = layered(shared[key], value) if key in shared else value
    return joined


def _spread(part: Mapping[str, Any]) -> dict[str, Any]:
    """A class's mapping with its options where they belong, in ``init_args``."""
    found = {k: v for k, v in part.items() if k in _OF_A_CLASS}
    options = {k: v for k, v in part.items() if k not in _OF_A_CLASS}
    return found | {"init_args": {**(part.get("init_args") or {}), **options}}


def _is_other(before: str | None, after: str | None) -> bool:
    """Whether two class paths name different classes; a name alone is one of any module."""
    if before is None or after is None or before == after:
        return False
    names = [path.rpartition(".") for path in (before, after)]
    return names[0][2] != names[1][2] or all(module for module, *_ in names)
