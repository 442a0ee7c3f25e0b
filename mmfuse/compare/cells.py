"""Cells: one file for each finished (variant, seed), so that a study goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mmfuse.errors import DataError
from mmfuse.files import write_json

FORMAT = 1


@dataclass(frozen=True)
class Cell:
    """One training run of a study.

    Args:
        variant: the row's name in the table.
        seed: the run's seed.
        settings: everything that the result depends on, in plain data. A cell is done when
            its file holds a result for the same settings; change one and it runs again.
    """

    variant: str
    seed: int
    settings: Mapping[str, Any]

    @property
    def key(self) -> str:
        """A short digest of name, seed and settings."""
        content = json.dumps([FORMAT, self.variant, self.seed, self.settings], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


class CellStore:
    """The folder of finished cells.

    Args:
        folder: where the files are, one ``<key>.json`` a cell.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, cell: Cell) -> Path:
        """The cell's file."""
        return self.folder / f"{cell.key}.json"

    def is_done(self, cell: Cell) -> bool:
        """Whether the cell has a result."""
        return self.path(cell).exists()

    def write(self, cell: Cell, scores: pd.DataFrame, facts: Mapping[str, Any]) -> None:
        """Stores a result, all of it or nothing.

        Args:
            cell: the run.
            scores: columns protocol, condition, target, metric, value.
            facts: parameters, seconds an epoch and the like.
        """
        content = {
            "variant": cell.variant,
            "seed": cell.seed,
            "settings": cell.settings,
            "facts": dict(facts),
            "scores": scores.to_dict(orient="records"),
        }
        write_json(content, self.path(cell))

    def read(self, cells: list[Cell]) -> pd.DataFrame:
        """Every score of the given cells that are done, one line each, facts repeated.

        Raises:
            DataError: a file is corrupt.
        """
        frames = []
        for cell in cells:
            if not self.is_done(cell):
                continue
            path = self.path(cell)
            try:
                content = json.loads(path.read_text())
                scores, facts = pd.DataFrame(content["scores"]), content["facts"]
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(
                    f"{path} is corrupt ({error}). Delete it to run it again."
                ) from error
            frames.append(scores.assign(variant=cell.variant, seed=cell.seed, **facts))
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
