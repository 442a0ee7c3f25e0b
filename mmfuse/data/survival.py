"""Survival targets: times and events as a person has them -> pairs, strata and time bins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mmfuse.errors import ConfigError, DataError
from mmfuse.recorded import Recorded
from mmfuse.spec import TargetSpec


@dataclass(frozen=True)
class Survival(Recorded):
    """Where a survival target's times and events are: columns, keys, or the values themselves.

    Args:
        time: until the event, or until the row was last seen.
        event: 1 or True where the event came at that time.
        censored: the opposite, for data that have it so. Give one of the two.

    Both are empty where the outcome is unknown.

    Example:
        >>> Survival("months", censored="is_alive").columns
        ['months', 'is_alive']
    """

    time: Any
    event: Any = None
    censored: Any = None

    def __post_init__(self) -> None:
        # A dataclass makes its constructor too late for Recorded to see it.
        object.__setattr__(self, "_arguments", dict(vars(self)))

    @property
    def columns(self) -> list[Any]:
        """Time, then whichever of event and censored is given."""
        return [self.time, self.event if self.censored is None else self.censored]

    def filled(self, values: Mapping[Any, Any]) -> Survival:
        """The same with each column's values in its place."""
        time, second = (values[c] for c in self.columns)
        if self.censored is None:
            return Survival(time, event=second)
        return Survival(time, censored=second)

    def pairs(self, name: str) -> np.ndarray:
        """``(N, 2)`` times and events as numbers, NaN where empty.

        Raises:
            DataError: a value that is no number, unequal lengths, or censored other than 0 and 1.
        """
        columns = []
        for what, values in zip(("time", "event"), self.columns, strict=True):
            try:
                numbers = pd.to_numeric(pd.Series(np.asarray(values).reshape(-1)))
                columns.append(numbers.to_numpy(np.float64, na_value=np.nan))
            except (TypeError, ValueError) as error:
                raise DataError(
                    f"Target {name!r}: the {what} holds a value that is no number ({error}). Give "
                    "times as numbers, and events as 0 and 1."
                ) from error
        if len({len(c) for c in columns}) > 1:
            raise DataError(
                f"Target {name!r} has {len(columns[0])} times and {len(columns[1])} events; "
                "expected one of each for a row."
            )
        time, event = columns
        if self.censored is not None and (odd := ~np.isnan(event) & ~np.isin(event, (0, 1))).any():
            row = int(odd.argmax())
            raise DataError(
                f"Target {name!r}: row {row} has {event[row]:g} for censored; expected 1 where the "
                "row was last seen without the event and 0 where the event came."
            )
        return np.stack([time, event if self.censored is None else 1 - event], axis=1)


def survival_of(name: str, value: Any) -> Any:
    """``value``, or a ``Survival`` where it is written as a mapping.

    Raises:
        ConfigError: a mapping with other keys, or neither or both of event and censored.
    """
    if isinstance(value, Survival):
        if (value.event is None) == (value.censored is None):
            raise ConfigError(
                f"Target {name!r} is survival: give its time and either event (1 where it came) or "
                "censored (1 where it did not)."
            )
        return value
    if not isinstance(value, Mapping):
        return value
    known = {"time", "event", "censored"}
    if set(value) - known or "time" not in value:
        raise ConfigError(
            f"Target {name!r} is a mapping of {sorted(map(str, value))}; expected a survival "
            "target's time and event, or time and censored."
        )
    return survival_of(name, Survival(**value))


def outcomes_of(name: str, values: np.ndarray) -> np.ndarray:
    """Times and events after checks, float32.

    Raises:
        DataError: another shape, a time without event or the reverse, a time below zero or
            infinite, an event other than 0 and 1.
    """
    if values.ndim != 2 or values.shape[1] != 2:
        raise DataError(
            f"Target {name!r} is survival: expected a time and an event in each row, found shape "
            f"{values.shape}."
        )
    half = np.isnan(values).sum(axis=1) == 1
    if half.any():
        row = int(half.argmax())
        what = "a time without an event" if np.isnan(values[row, 1]) else "an event without a time"
        raise DataError(
            f"Target {name!r}: {half.sum()} row(s) have only one of time and event, the first row "
            f"{row} ({what}). Give both, or leave both empty where the outcome is unknown."
        )
    time, event = values.T
    wrong = (time < 0) | np.isinf(time)
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"Target {name!r}: row {row} has the time {time[row]:g}; expected a finite time of 0 "
            "or more since the row came under observation."
        )
    strange = ~np.isnan(event) & ~np.isin(event, (0, 1))
    if strange.any():
        row = int(strange.argmax())
        raise DataError(
            f"Target {name!r}: row {row} has the event {event[row]:g}; expected 1 where the event "
            "came at that time and 0 where the row was last seen without it."
        )
    return values.astype(np.float32)


def event_strata(outcomes: np.ndarray) -> np.ndarray:
    """What to stratify by: the event, -1 where unknown."""
    return np.nan_to_num(outcomes[:, 1], nan=-1).astype(np.int64)


def fit_survival(name: str, train: np.ndarray, bins: int) -> TargetSpec:
    """Time bins from the training rows.

    Bins end at quantiles of the events' times, so that each holds about as many events as
    another, and the last at the last time seen. Ties may leave fewer bins.

    Args:
        name: the target, for errors.
        train: the training rows' outcomes.
        bins: how many; 0 for Cox's model.

    Raises:
        DataError: no event, or none after time zero.
    """
    time, event = train[np.isfinite(train).all(axis=1)].T
    came = time[event == 1]
    if not len(came):
        raise DataError(
            f"Target {name!r}: none of the {len(train)} training rows has an event ({len(time)} "
            "are censored); there is nothing to learn. Check the column (events are 1; give "
            "`censored` where 1 means that none came) and the split."
        )
    if not came.max() > 0:
        raise DataError(f"Target {name!r}: every training event is at time 0. Check the column.")
    if not bins:
        return TargetSpec("survival")
    # Of the times themselves, so that no bin lies between two of them and is empty.
    inner = np.quantile(came, np.arange(1, bins) / bins, method="inverted_cdf")
    ends = np.unique([*inner[inner < time.max()], time.max()])
    return TargetSpec("survival", cuts=tuple(float(c) for c in ends if c > 0))
