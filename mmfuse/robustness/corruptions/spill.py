"""Spill: predictions under many conditions in a nameless file, read curve by curve."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class Spill:
    """Blocks of predictions ``(C, n, K)``, written one after the other and read by condition.

    A hundred thousand rows under hundreds of conditions are gigabytes; of those one curve's are
    in memory at a time. The file has no name and goes with the object.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._shapes: list[tuple[int, ...]] = []

    def add(self, block: NDArray[np.float32]) -> None:
        """Appends some rows' predictions."""
        self._file.write(np.ascontiguousarray(block, np.float32).tobytes())
        self._shapes.append(block.shape)

    def read(self, conditions: Sequence[int]) -> NDArray[np.float32]:
        """All rows under some conditions, ``(len(conditions), N, K)``."""
        self._file.flush()
        parts, start = [], 0
        for shape in self._shapes:
            size = int(np.prod(shape))
            if size:
                block = np.memmap(self._file, np.float32, "r", start * 4, shape)
                parts.append(np.array(block[list(conditions)]))
            start += size
        return np.concatenate(parts, axis=1)
