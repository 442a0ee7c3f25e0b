"""Lines of a study's CSV file: one a finished run, which is not run again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mmfuse.compare.table import interval
from mmfuse.files import replacing


class Lines:
    """A file that grows by lines, each written whole or not at all.

    Args:
        file: of the lines; made when the first is added.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        self.frame = pd.read_csv(file) if file.is_file() else pd.DataFrame()

    def has(self, key: dict[str, Any]) -> bool:
        """Whether a run's line is there."""
        if not len(self.frame):
            return False
        return bool((self.frame[list(key)] == pd.Series(key)).all(axis=1).any())

    def add(self, lines: Sequence[dict[str, Any]]) -> None:
        """Adds a run's lines."""
        self.frame = pd.concat([self.frame, pd.DataFrame(lines)], ignore_index=True)
        with replacing(self.file) as part:
            self.frame.to_csv(part, index=False, float_format="%.6g")


def shown(values: pd.Series) -> str:
    """Mean and half-width of the 95 % Student interval, or the one value; nothing of none."""
    values = values.dropna()
    if not len(values):
        return ""
    mean, half = interval(values.to_numpy())
    return f"{mean:.4f}" if len(values) == 1 else f"{mean:.4f} ± {half:.4f}"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
