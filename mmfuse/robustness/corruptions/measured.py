"""Measured: what corruptions know of a modality, all of it from training rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from mmfuse.data import FusionDataModule
from mmfuse.data.columns import Numeric
from mmfuse.data.content import extent, moments
from mmfuse.errors import ConfigError, UnknownModalityError
from mmfuse.spec import DataSpec, ModalitySpec

#: For each modality the lowest and the highest value of its raw input.
Valid = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Measured:
    """A modality's form, and how large its numbers are.

    Args:
        spec: what its input looks like.
        mean: of each number over training rows; empty where not known or not numbers.
        std: likewise their deviation, 0 for a number that never changes.
        valid: for images that are arrays, the values of black and white.
    """

    spec: ModalitySpec
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    valid: tuple[float, float] | None = None

    @classmethod
    def of(cls, spec: ModalitySpec) -> Measured:
        """What the spec itself tells: the statistics that standardise the input.

        Take ``measure`` where the data are scaled by their range, as the spec then holds
        minimum and range in place of mean and deviation.
        """
        return cls(spec, spec.mean, spec.std)


def measure(data: FusionDataModule, spec: DataSpec | None = None) -> dict[str, Measured]:
    """Means, deviations and ranges of the present training rows, missing cells left out.

    Where there are no training rows, what the spec tells.

    Args:
        data: whose training rows.
        spec: a trained model's; None for the data's own.
    """
    dataset, rows = data.dataset("train", missing=None), data.rows("train").numpy()
    found = {}
    for m, s in (spec or data.spec).modalities.items():
        column = dataset.columns[m]
        found[m] = Measured.of(s)
        if not isinstance(column, Numeric) or not column.present[rows].any():
            continue
        low, span = (np.array(v) for v in extent(s, column, rows))
        mean, std = (np.array(v) for v in moments(s, column, rows))
        # No deviation exceeds half the range (Popoviciu), but for the 1 that stands for none.
        std = np.where(std > span / 2 * (1 + 1e-6), 0.0, std)
        valid = (float(low.min()), float((low + span).max())) if s.kind == "image" else None
        found[m] = Measured(s, tuple(mean.tolist()), tuple(std.tolist()), valid)
    return found


def with_valid(measured: Mapping[str, Measured], valid: Valid | None) -> dict[str, Measured]:
    """The same with ranges that a person gave.

    Raises:
        UnknownModalityError: a range for a modality that is not there.
        ConfigError: a range that is empty.
    """
    for m, (low, high) in (valid or {}).items():
        if m not in measured:
            raise UnknownModalityError(
                f"valid names {m!r}; the model has {list(measured)}. Correct the name."
            )
        if not low < high:
            raise ConfigError(
                f"Modality {m!r}: valid is from {low} to {high}. Give the lowest value first, and "
                "a higher one."
            )
    return {m: replace(v, valid=(valid or {}).get(m, v.valid)) for m, v in measured.items()}
