"""InteractionArrays: interactions in memory."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from mmfuse.recommend.sources.base import InteractionSource, RawInteractions
from mmfuse.recorded import class_path


class InteractionArrays(InteractionSource):
    """Interactions in memory: arrays, tensors, lists or columns of a frame.

    Args:
        user: ``(N,)`` whole numbers or strings.
        item: ``(N,)`` whole numbers or strings.
        time: ``(N,)`` numbers or dates.
        rating: ``(N,)`` numbers.
        split: ``(N,)``; see ``RawInteractions``.

    Example:
        >>> len(InteractionArrays(["ann", "bob"], [3, 4]).read())
        2
    """

    def __init__(
        self, user: Any, item: Any, time: Any = None, rating: Any = None, split: Any = None
    ) -> None:
        columns = {"user": user, "item": item, "time": time, "rating": rating, "split": split}
        self._given = {n: _array(c) for n, c in columns.items() if c is not None}

    def read(self) -> RawInteractions:
        """The arrays."""
        return RawInteractions(**self._given)

    def settings(self) -> dict[str, Any]:
        """The columns and a digest of their content."""
        digest = hashlib.sha256()
        for name, column in self._given.items():
            digest.update(name.encode() + pd.util.hash_array(column).tobytes())
        return {
            "class_path": class_path(type(self)),
            "init_args": {},
            "columns": list(self._given),
            "rows": len(self._given["user"]),
            "sha256": digest.hexdigest(),
        }


def _array(column: Any) -> np.ndarray:
    if isinstance(column, Tensor):
        column = column.detach().cpu().numpy()
    # By way of a Series, as a list of strings with a gap must not become strings alone.
    return column if isinstance(column, np.ndarray) else pd.Series(column).to_numpy()
