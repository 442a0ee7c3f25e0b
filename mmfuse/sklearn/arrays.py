"""MultimodalArrays: several modalities' rows as one thing that scikit-learn can split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch

from mmfuse.errors import DataError


class MultimodalArrays:
    """Several modalities' rows as one thing that scikit-learn can split.

    A mapping's length is its number of modalities; scikit-learn takes the length for the
    number of rows. This wrapper has the rows' length and is indexed by rows, which is all
    that ``train_test_split``, ``cross_val_score`` and ``GridSearchCV`` ask for.

    Args:
        arrays: each modality's rows: an array or tensor (all NaN where absent), a list (None
            where absent), or a DataFrame (empty where absent).

    Raises:
        DataError: no modality, something that has no rows, or unequal numbers of rows.

    Example:
        >>> X = MultimodalArrays({"a": np.zeros((4, 2)), "b": ["x", None, "y", "z"]})
        >>> len(X), X[[1, 3]].arrays["b"]
        (4, [None, 'z'])
    """

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        lengths = {m: _length(m, rows) for m, rows in arrays.items()}
        if len(set(lengths.values())) != 1:
            raise DataError(
                f"Modalities have {lengths or 'no'} rows. Give at least one modality, and the "
                "same number of rows for all, None or NaN where one is absent."
            )
        self.arrays = dict(arrays)
        self._rows = next(iter(lengths.values()))

    @property
    def modalities(self) -> tuple[str, ...]:
        """Their names, in the order given."""
        return tuple(self.arrays)

    @property
    def shape(self) -> tuple[int]:
        """The number of rows, where scikit-learn looks for it."""
        return (self._rows,)

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, key: Any) -> MultimodalArrays:
        """The rows that an integer, a slice, a mask or an array of integers selects."""
        if isinstance(key, tuple):  # scikit-learn asks for [rows, ...]
            key = key[0]
        rows = np.atleast_1d(np.arange(self._rows)[key])
        return MultimodalArrays({m: _take(values, rows) for m, values in self.arrays.items()})

    def __repr__(self) -> str:
        return f"MultimodalArrays({self._rows} rows of {', '.join(self.arrays)})"


def _length(name: str, rows: Any) -> int:
    if isinstance(rows, str | bytes | Mapping) or not hasattr(rows, "__len__"):
        raise DataError(
            f"Modality {name!r} is a {type(rows).__name__}; expected an array, a list or a "
            "DataFrame with one row for each sample."
        )
    return len(rows)


def _take(values: Any, rows: np.ndarray) -> Any:
    if isinstance(values, pd.DataFrame | pd.Series):
        return values.iloc[rows]
    if isinstance(values, torch.Tensor):
        return values[torch.from_numpy(rows).to(values.device)]
    if isinstance(values, np.ndarray):
        return values[rows]
    return [values[row] for row in rows]
