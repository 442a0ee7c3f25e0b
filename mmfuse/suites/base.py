"""The suite contract: a trained model and its data -> one part of a robustness study."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Protocol, get_args

import torch

from mmfuse.batch import Batch
from mmfuse.data import FusionDataModule
from mmfuse.data.loader import ResumableLoader
from mmfuse.errors import ConfigError
from mmfuse.model import FusionModel
from mmfuse.recorded import Recorded
from mmfuse.robustness.result import RobustnessResult

Split = Literal["train", "val", "test"]
#: Names a piece of work and its number of steps; or takes a step, for None.
Tell = Callable[[str | None, int | None], None]


class Saved(Protocol):
    """What a suite finds."""

    def save(self, folder: str | Path) -> Path:
        """Writes it into a folder of its own."""


@dataclass(frozen=True)
class Setting:
    """What a suite works on.

    Args:
        model: trained.
        data: its data, with the model's preprocessing attached.
        split: the rows to evaluate.
        absence: what the model does when modalities are absent, which is always known first.
        checkpoint: where the model came from; None for one in memory.
        device: where to compute.
        bootstrap: resamples behind each interval.
        seed: of everything that is drawn.
        tell: of progress.
    """

    model: FusionModel
    data: FusionDataModule
    split: Split
    absence: RobustnessResult
    checkpoint: Path | None
    device: torch.device | str
    bootstrap: int
    seed: int
    tell: Tell

    def batches(self, split: Split | None = None) -> ResumableLoader[Batch]:
        """The rows as they are, natural gaps included; of the study's split for None."""
        return self.data.loader(split or self.split, missing=None)

    def sample(self, rows: int, split: Split | None = None) -> list[Batch]:
        """At most so many rows, drawn by the seed, in ascending order; ``split`` as above."""
        split = split or self.split
        every = self.data.rows(split)
        draw = torch.Generator().manual_seed(self.seed)
        chosen = every[torch.randperm(len(every), generator=draw)[:rows]].sort().values
        dataset = self.data.dataset(split, missing=None)
        return [dataset.__getitems__(part) for part in chosen.split(self.data.eval_batch_size)]


def checked_split(suite: str, split: Split) -> Split:
    """The split that a suite was told to read.

    Raises:
        ConfigError: there is no such split.
    """
    if split not in get_args(Split):
        raise ConfigError(f"{suite}: split is {split!r}; expected train, val or test.")
    return split


class Suite(Recorded, ABC):
    """Base of what a robustness study may hold besides absence.

    A subclass says its ``name``, which is the folder of its result, and writes ``run``. It says
    too if it does without a model that predicts targets, by ``needs_target``; otherwise a study
    of aligned modalities refuses it.
    """

    name: ClassVar[str]
    needs_target: ClassVar[bool] = True

    def check(self, model: FusionModel, data: FusionDataModule) -> None:
        """Refuses, before anything is computed, a model or data that it cannot study.

        Raises:
            ConfigError: saying why.
        """

    @abstractmethod
    def run(self, setting: Setting) -> Saved:
        """The result, which has a ``save``."""
