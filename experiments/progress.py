"""Studies that go on where they stopped: lines of a CSV file, a whole run at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd


def is_done(path: Path, key: Mapping[str, Any]) -> bool:
    """Whether the file has a line with these values."""
    if not path.exists():
        return False
    table = pd.read_csv(path)
    return bool((table[list(key)] == pd.Series(dict(key))).all(axis=1).any())


def append(lines: pd.DataFrame | Sequence[Mapping[str, Any]], path: Path) -> None:
    """Adds a whole run; an interruption leaves the old file."""
    table = pd.DataFrame(lines)
    if path.exists():
        table = pd.concat([pd.read_csv(path), table])
    part = path.with_suffix(".part")
    table.to_csv(part, index=False, float_format="%.6f")
    part.replace(path)
