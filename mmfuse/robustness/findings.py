"""Findings: everything that a robustness study of one model found, and its folder on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mmfuse.errors import DataError
from mmfuse.robustness.attacks import AttackCurves, SearchCurves
from mmfuse.robustness.corruptions.result import CorruptionResult
from mmfuse.robustness.interactions.result import InteractionResult
from mmfuse.robustness.leak_result import LeakResult
from mmfuse.robustness.ood import OODResult
from mmfuse.robustness.result import RobustnessResult
from mmfuse.robustness.worst import WorstRows

BASELINES = "baselines.parquet"
#: What may stand in folders of its own beside the tables of absence.
PARTS: dict[str, Callable[[Path], Any]] = {
    "corruptions": CorruptionResult.load,
    "attacks": AttackCurves.load,
    "set_guided": SearchCurves.load,
    "ood": OODResult.load,
    "interactions": InteractionResult.load,
    "leak": LeakResult.load,
    "worst": WorstRows.load,
}


@dataclass(frozen=True)
class Findings:
    """What a study of one model holds; None for what was not part of it.

    Args:
        absence: what the model does when modalities are absent.
        baselines: simpler models on the same rows, as ``write_report`` describes them.
        corruptions: scores as inputs are noisy, blurred or misspelt.
        attacks: accuracy as inputs are moved against it.
        set_guided: of an aligned model, what rows no longer find as inputs are moved.
        ood: how it tells other data from its own.
        interactions: why modalities matter.
        leak: what the mask alone tells of the targets.
        worst: the rows that it gets most wrong.
    """

    absence: RobustnessResult
    baselines: pd.DataFrame | None = None
    corruptions: CorruptionResult | None = None
    attacks: AttackCurves | None = None
    set_guided: SearchCurves | None = None
    ood: OODResult | None = None
    interactions: InteractionResult | None = None
    leak: LeakResult | None = None
    worst: WorstRows | None = None

    @classmethod
    def load(cls, folder: str | Path) -> Findings:
        """Reads what ``mmfuse robustness`` wrote.

        Raises:
            MissingFileError: the folder lacks a file of a result.
            DataError: a file is corrupt, or a later mmfuse wrote it.
        """
        folder = Path(folder)
        absence = RobustnessResult.load(folder)
        parts = {n: load(folder / n) for n, load in PARTS.items() if (folder / n).is_dir()}
        return cls(absence, _baselines(folder / BASELINES), **parts)


def _baselines(path: Path) -> pd.DataFrame | None:
    if not path.is_file():
        return None
    try:
        return pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise DataError(f"The table of baselines {path} is corrupt: {error}.") from error
