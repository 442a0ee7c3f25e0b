"""RankingRobustness: the numbers of a study, a line each, and the files that hold them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmfuse.files import replacing, write_json

COLUMNS = (
    "condition",
    "family",
    "present",
    "rate",
    "realised_rate",
    "fill",
    "slice",
    "users",
    "metric",
    "value",
    "low",
    "high",
    "drop",
    "drop_low",
    "drop_high",
)


@dataclass(frozen=True)
class RankingRobustness:
    """How well a model ranks under each condition of absence.

    Args:
        table: a line for each condition, fill, slice of items and metric:

            - ``condition``, ``family``, ``present`` (what a subset keeps), ``rate``,
              ``realised_rate`` (the share of items' modalities that went);
            - ``fill``: ``absent``, the model told of absence; ``zero`` and ``mean``, the same
              model given zeros or training means that count as present;
            - ``slice``: ``all``; ``cold``, items without a training interaction; ``affected``,
              items that lost something. All items are ranked; of the relevant ones those of the
              slice count, for the ``users`` who have any. ``cold_alone`` ranks cold items among
              themselves;
            - ``value``, the mean over users, and ``drop``, what the complete items with the same
              fill and slice have more, each with its 95 % interval.
        meta: how it came about, in plain data.
    """

    table: pd.DataFrame
    meta: dict[str, Any]

    @property
    def main_metric(self) -> str:
        """The metric that pictures and the terminal show."""
        return str(self.meta["main_metric"])

    @property
    def fills(self) -> list[str]:
        """The model, and the baselines that there are."""
        return list(self.meta["fills"])

    @property
    def has_cold(self) -> bool:
        """Whether cold items are to be found, and others too, so that they say something more."""
        every, cold = self.lines("all"), self.lines("cold")
        return bool((cold["users"] > 0).any()) and not np.array_equal(cold["value"], every["value"])

    def lines(self, slice: str = "all", metric: str | None = None) -> pd.DataFrame:
        """The lines of one slice and one metric, the main one by default."""
        found = self.table[self.table["slice"] == slice]
        return found[found["metric"] == (metric or self.main_metric)]

    def save(self, folder: str | Path) -> None:
        """Writes ``robustness.csv``, ``meta.json``, ``subsets.png`` and ``mcar.png``.

        Without lines of MCAR there is no ``mcar.png``.

        Raises:
            OutputError: the folder cannot be written.
        """
        from mmfuse.recommend.robustness.pictures import pictures  # matplotlib takes its time

        folder = Path(folder)
        with replacing(folder / "robustness.csv") as part:
            self.table.to_csv(part, index=False)
        for name, figure in pictures(self).items():
            with replacing(folder / name) as part:
                figure.savefig(part, format="png", dpi=150, bbox_inches="tight")
        write_json(self.meta, folder / "meta.json")
