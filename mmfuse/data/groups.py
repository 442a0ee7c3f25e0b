"""Which columns of a table make up which modality, target, split and group."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mmfuse.data.survival import Survival, survival_of
from mmfuse.errors import DataError
from mmfuse.recorded import Recorded
from mmfuse.spec import Kind


@dataclass(frozen=True)
class ColumnGroup(Recorded):
    """The columns of one modality.

    Args:
        columns: names, or patterns such as ``gene_*``.
        kind: ``text`` for a column of strings that is no category; ``image``, ``audio`` or
            ``video`` for a column of files; otherwise what the values are, where they do not
            tell.
        categorical: which of the columns hold categories although they are numbers.
        rate: for audio, samples a second that every row must have; 0 for any.
    """

    columns: str | list[str]
    kind: Kind | None = None
    categorical: tuple[str, ...] | list[str] = ()
    rate: int = 0

    def __post_init__(self) -> None:
        # A dataclass makes its constructor too late for Recorded to see it.
        object.__setattr__(self, "_arguments", dict(vars(self)))


Groups = dict[str, str | list[str] | ColumnGroup]
Targets = str | list[str] | dict[str, str | list[str] | Survival]


def group_of(value: str | Sequence[str] | ColumnGroup | Mapping[str, Any]) -> ColumnGroup:
    """A group, however it was written."""
    if isinstance(value, ColumnGroup):
        return value
    if isinstance(value, Mapping):
        return ColumnGroup(**value)
    return ColumnGroup([value] if isinstance(value, str) else list(value))


def find_columns(wanted: str | Sequence[str], known: Sequence[str], of: str) -> list[str]:
    """The columns that names and patterns mean, in the order of the patterns.

    Raises:
        DataError: a name or pattern that no column matches; with the nearest match.
    """
    found: list[str] = []
    for name in [wanted] if isinstance(wanted, str) else wanted:
        matches = [name] if name in known else fnmatch.filter(known, name)
        if not matches:
            nearest = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
            shown = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
            raise DataError(
                f"{of} names column {name!r}, which is not there.{hint} Columns: {shown}."
            )
        found += [m for m in matches if m not in found]
    return found


def named_targets(
    targets: str | list[str] | Mapping[str, Any] | None,
) -> dict[str, str | list[str] | Survival]:
    """Each target's column or columns, by the target's name."""
    if targets is None:
        return {}
    if isinstance(targets, Mapping):
        return {t: survival_of(t, columns) for t, columns in targets.items()}
    return {t: t for t in ([targets] if isinstance(targets, str) else targets)}


def columns_of(target: str | list[str] | Survival) -> str | list[str]:
    """The columns that a target names."""
    return target.columns if isinstance(target, Survival) else target


def pick_target(frame: pd.DataFrame, name: str, target: str | list[str] | Survival) -> Any:
    """A target's values: a Series, a DataFrame for several labels or values a row, or Survival."""
    columns, known, of = columns_of(target), list(frame.columns), f"Target {name!r}"
    if isinstance(target, Survival):
        return target.filled({c: frame[find_columns(c, known, of)[0]] for c in target.columns})
    found = find_columns(columns, known, of)
    return frame[found[0]] if isinstance(columns, str) and len(found) == 1 else frame[found]
