"""Worst: the rows that the model gets most wrong, with their inputs to look at."""

from __future__ import annotations

import pandas as pd

from mmfuse.data import FusionDataModule
from mmfuse.errors import ConfigError
from mmfuse.model import FusionModel
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

    def check(self, model: FusionModel, data: FusionDataModule) -> None:
        """Refuses a model whose rows have no loss of their own.

        Raises:
            ConfigError: it predicts survival alone.
        """
        kinds = {t: s.kind for t, s in model.spec.targets.items()}
        if model.heads and set(kinds.values()) == {"survival"}:
            raise ConfigError(
                "Worst needs a target of classes, labels or values, as a row of survival has no "
                f"loss of its own; the model predicts {kinds}. Leave the suite out."
            )

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
