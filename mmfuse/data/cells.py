"""Cells: what happens to single numbers of a row on their way: gaps filled, categories recoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmfuse.spec import ModalitySpec


@dataclass(frozen=True)
class Cells:
    """Fills missing cells of present rows, and turns a file's category codes into the model's.

    Args:
        fill: one number a feature in place of NaN, shaped to broadcast; None leaves NaN.
        recode: for each categorical column the model's code of each of the file's codes.
    """

    fill: np.ndarray | None
    recode: tuple[np.ndarray, ...] = ()

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """The rows ``(B, ...)`` as the model takes them."""
        numbers = values.shape[-1] - len(self.recode)
        values = values.copy()
        if self.fill is not None:
            part = values[..., :numbers]
            values[..., :numbers] = np.where(np.isnan(part), self.fill, part)
        for i, table in enumerate(self.recode):
            values[:, numbers + i] = table[values[:, numbers + i].astype(np.int64)]
        return values


def recoding(
    file: Sequence[Sequence[str]], model: Sequence[Sequence[str]]
) -> tuple[np.ndarray, ...]:
    """For each categorical column the model's code of each of the file's codes; 0 unseen."""
    tables = []
    for levels, known in zip(file, model, strict=True):
        code = {level: i for i, level in enumerate(known, start=1)}
        tables.append(np.array([0, *(code.get(level, 0) for level in levels)], dtype=np.float32))
    return tuple(tables)


def seen_levels(spec: ModalitySpec, rows: np.ndarray) -> tuple[tuple[str, ...], ...]:
    """The levels of each categorical column that occur in ``rows``, whole rows of the file.

    Args:
        spec: with the file's levels.
        rows: ``(N, columns)``, codes last.
    """
    start = spec.width - len(spec.levels)
    return tuple(
        tuple(levels[int(code) - 1] for code in np.unique(rows[:, start + i]) if code > 0)
        for i, levels in enumerate(spec.levels)
    )


def fill_of(spec: ModalitySpec) -> np.ndarray:
    """The training means, shaped to stand in for a row's missing cells."""
    return np.reshape(np.array(spec.mean, np.float32), (-1, 1, 1) if spec.kind == "image" else -1)
