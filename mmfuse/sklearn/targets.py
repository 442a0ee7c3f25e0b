"""Targets: what is checked of y before anyone asks what it means."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import check_array

from mmfuse.errors import DataError


def check_target(estimator: BaseEstimator, y: Any, is_column_flat: bool = True) -> np.ndarray:
    """``y`` as an array ``(N,)`` or ``(N, K)`` without gaps.

    Args:
        estimator: whose it is, for errors.
        y: labels or values.
        is_column_flat: take ``(N, 1)`` for ``(N,)``, with scikit-learn's warning.

    Raises:
        DataError: there is none, or it has a gap.
        ValueError: scikit-learn's own, for infinity, complex numbers and other shapes.
    """
    if y is None:
        # The words that scikit-learn's conformance suite looks for.
        raise DataError(
            f"{type(estimator).__name__} requires y to be passed, but the target y is None."
        )
    gaps = np.asarray(pd.isna(y if isinstance(y, pd.DataFrame | pd.Series) else np.asarray(y)))
    if gaps.any():
        raise DataError(
            f"Input y contains NaN or None in {gaps.sum()} places, the first in row "
            f"{int(np.argwhere(gaps)[0][0])}. Leave out rows without a target."
        )
    found: np.ndarray = check_array(y, dtype=None, ensure_2d=False, input_name="y")
    if found.ndim > 2:
        raise DataError(f"y has shape {found.shape}; expected one line of targets for each row.")
    if is_column_flat and found.ndim == 2 and found.shape[1] == 1:
        warnings.warn(
            "A column-vector y was passed when a 1d array was expected. Please change the shape "
            "of y to (n_samples,), for example using ravel().",
            DataConversionWarning,
            stacklevel=4,
        )
        return found.ravel()
    return found
