"""The ceiling: one model for each subset of modalities, trained and tested on nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import lightning as L
import pandas as pd

from mmfuse.compare.study import Study
from mmfuse.data import FusionDataModule
from mmfuse.errors import ConfigError
from mmfuse.missing import subsets
from mmfuse.tasks import SupervisedTask

if TYPE_CHECKING:
    from mmfuse.trainer import Trainer

#: What the ceiling is called among the variants of a study.
CEILING = "one model per subset"


def subset_ceiling(
    make_task: Callable[[tuple[str, ...]], SupervisedTask],
    data: FusionDataModule,
    make_trainer: Callable[[Path, list[L.Callback]], Trainer],
    seeds: Sequence[int],
    folder: Path,
    *,
    kept: Sequence[tuple[str, ...]] | None = None,
    limit: int = 4,
) -> pd.DataFrame:
    """Trains a model for each subset of the modalities, and scores each on its own subset.

    A model of all modalities that is told to do with fewer can hardly do better than one that
    was trained for just these: what it lacks to that is the price of serving all subsets at
    once. Where it does better, it has learned from a modality what helps without it.

    Args:
        make_task: an untrained task for the modalities named.
        data: the data set, with whatever it simulates in training.
        make_trainer: makes a fresh Trainer for a folder and further callbacks.
        seeds: the seeds, as in ``Study``, of which there is one for each subset.
        folder: where cells go. What it already holds is not run again.
        kept: the subsets; None for all that are not empty.
        limit: up to this many modalities, as there are ``2^M - 1`` subsets to train; more need
            ``kept``.

    Returns:
        one line for each subset, seed, target and metric, as ``CellStore.read`` gives them:
        ``variant`` is ``CEILING``, ``condition`` such as "only a + b" as in
        ``standard_conditions``, ``present`` the modalities joined by commas

    Raises:
        ConfigError: too many modalities, no seed, or no subset.
        UnknownModalityError: a subset names what the data lack.
        OutputError: the folder cannot be written.
    """
    names = tuple(data.spec.modalities)
    if kept is None:
        if len(names) > limit:
            raise ConfigError(
                f"{len(names)} modalities have {2 ** len(names) - 1} subsets to train a model for; "
                f"the limit is {limit} modalities. Raise it, or name subsets in kept."
            )
        kept = subsets(names, limit)
    if not kept:
        raise ConfigError("kept names no subset; name one or more, or leave it out for all.")
    parts = []
    for subset in kept:
        study = Study(
            task=make_task(subset),
            data=data.narrowed(list(subset)),
            make_trainer=make_trainer,
            fusions={CEILING: make_task(subset)},
            seeds=list(seeds),
            conditions={},
            folder=folder / "+".join(subset),
            baselines=False,
        )
        study.run()
        found = study.store.read(study.cells())
        parts.append(found.assign(condition=f"only {' + '.join(subset)}", present=",".join(subset)))
    return pd.concat(parts, ignore_index=True)
