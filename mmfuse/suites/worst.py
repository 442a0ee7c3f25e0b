"""Worst: the rows that the model gets most wrong, with their inputs to look at."""

from __future__ import annotations

import pandas as pd

from mmfuse.errors import ConfigError
from mmfuse.robustness.worst import WorstRows, worst_of
from mmfuse.suites.base import Setting, Suite
from mmfuse.suites.shown import shown


class Worst(Suite):
    """Shows the rows that the model gets most wrong, with what each modality alone says of them.

    Args:
        rows: how many for each target.

    Raises:
        ConfigError: fewer than one.
    """

    name = "worst"
    needs_target = False

    def __init__(self, rows: int = 8) -> None:
        if rows < 1:
            raise ConfigError(f"Worst: rows is {rows}; expected 1 up.")
        self.rows = rows

    def run(self, setting: Setting) -> WorstRows:
        """The rows, and pictures or words of their inputs."""
        setting.tell("worst rows", 1)
        table = worst_of(setting.absence, self.rows)
        dataset = setting.data.dataset(setting.split, missing=None)
        lines = []
        present = dataset.present.numpy()[table["row"].to_numpy(int)]
        for m, has in zip(dataset.modalities, present.T, strict=True):
            table[f"only {m}"] = table[f"only {m}"].where(has, "")
            for row in table.loc[has, "row"].unique():
                picture = shown(dataset.columns[m], setting.data.spec.modalities[m], int(row))
                lines.append((int(row), m, picture))
        setting.tell(None, None)
        inputs = pd.DataFrame(lines, columns=["row", "modality", "show"])
        meta = {"modalities": list(dataset.modalities), "count": self.rows}
        return WorstRows(table, inputs, meta)
