"""Study: every fusion with every seed on one data set, resumable, under stated conditions."""

from __future__ import annotations

import difflib
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import pandas as pd
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mmfuse.baselines import BASELINES, baseline_scores
from mmfuse.checkpoint import load
from mmfuse.compare.cells import Cell, CellStore
from mmfuse.compare.table import summarise, write_tables
from mmfuse.compare.watch import BestTestEpoch, EpochClock
from mmfuse.data import FusionDataModule
from mmfuse.errors import ConfigError, OutputError
from mmfuse.missing import Missingness
from mmfuse.recorded import describe, in_words
from mmfuse.robustness import Condition, evaluate
from mmfuse.robustness.metrics import metric_names
from mmfuse.tasks import SupervisedTask

if TYPE_CHECKING:
    from mmfuse.trainer import Trainer

HONEST = "validation-selected"
LAST = "last epoch"
BEST_TEST = "best test epoch"


class Study:
    """Trains each fusion with each seed and gathers one table.

    The seed moves the initial weights, the order of batches, the split (where it is drawn)
    and the simulated absence. The best epoch is chosen on the validation rows, and is the last
    one where no rows validate; the test rows are read once, with the chosen model, under every
    condition.

    Args:
        task: the model to vary; its encoders, objectives and optimizer are kept.
        data: the data set.
        make_trainer: makes a fresh Trainer for a folder and further callbacks.
        fusions: each variant's name and fusion, given as for ``SupervisedTask``; or a task of
            its own, which shares nothing but data and trainer with the others.
        seeds: the seeds.
        conditions: test-time absence by name; None leaves the test rows as they are.
        folder: where cells and tables go. What it already holds is not run again.
        baselines: add scikit-learn's logistic regression and histogram gradient boosting
            on the joined features.
        best_test_epoch: also report the epoch that was best on the test rows, which is how
            several published numbers were chosen. It overstates; compare it with nothing
            but them.

    Raises:
        ConfigError: no fusion, no seed, a fusion with a baseline's name, or a condition called
            "complete" that is not.
        OutputError: at ``run``, when the folder cannot be written.
    """

    def __init__(
        self,
        task: SupervisedTask,
        data: FusionDataModule,
        make_trainer: Callable[[Path, list[L.Callback]], Trainer],
        fusions: Mapping[str, Any],
        seeds: list[int],
        conditions: Mapping[str, Missingness | None],
        folder: Path,
        baselines: bool = True,
        best_test_epoch: bool = False,
    ) -> None:
        if not fusions or not seeds:
            raise ConfigError("A comparison needs at least one fusion and one seed.")
        if taken := [name for name in fusions if name in BASELINES]:
            raise ConfigError(f"{taken} are the baselines' names; call the fusion something else.")
        self.task, self.data, self.make_trainer = task, data, make_trainer
        self.fusions, self.seeds = dict(fusions), list(seeds)
        self.conditions = {"complete": None, **conditions}
        if self.conditions["complete"] is not None:
            raise ConfigError("The condition 'complete' takes nothing away; rename yours.")
        self.folder = Path(folder)
        self.store = CellStore(self.folder / "cells")
        self.baselines, self.best_test_epoch = baselines, best_test_epoch

    def cells(self) -> list[Cell]:
        """Every run of the study, baselines last."""
        shared = {
            "data": self.data.settings(),
            "conditions": {n: describe(c) if c else None for n, c in self.conditions.items()},
        }
        trained = shared | {
            "task": self.task.settings(),
            "trainer": self.make_trainer(self.folder, []).settings(),
            "best_test_epoch": self.best_test_epoch,
        }
        cells = [
            Cell(name, seed, trained | _own(variant))
            for name, variant in self.fusions.items()
            for seed in self.seeds
        ]
        if self.baselines:
            cells += [Cell(name, seed, shared) for name in BASELINES for seed in self.seeds]
        return cells

    def run(self, metrics: list[str] | None = None) -> pd.DataFrame:
        """Runs what is not done yet, writes the tables and returns the summary.

        Args:
            metrics: metrics to show, the most important first; all by default.

        Raises:
            ConfigError: a metric that no target has, before any run.
            DataError: a finished cell's file is corrupt, before any run.
        """
        self._require_known(metrics or [])
        cells = self.cells()
        _make(self.store.folder)
        self.store.read(cells)  # which refuses a corrupt file now, not after hours of training
        waiting = [cell for cell in cells if not self.store.is_done(cell)]
        with _progress() as progress:
            bar = progress.add_task(
                "comparing", total=len(cells), completed=len(cells) - len(waiting)
            )
            for cell in waiting:
                progress.update(bar, description=f"{cell.variant}, seed {cell.seed}")
                scores, facts = self._run(cell)
                self.store.write(cell, scores, facts)
                progress.advance(bar)
        summary = summarise(self.store.read(cells))
        write_tables(summary, self.folder, metrics)
        return summary

    def _require_known(self, metrics: list[str]) -> None:
        known = {m for spec in self.data.spec.targets.values() for m in metric_names(spec)}
        for name in metrics:
            if name not in known:
                nearest = difflib.get_close_matches(name, known, n=1)
                hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
                raise ConfigError(
                    f"The targets have no metric {name!r}.{hint} Known: {', '.join(sorted(known))}."
                )

    def _run(self, cell: Cell) -> tuple[pd.DataFrame, dict[str, Any]]:
        L.seed_everything(cell.seed, verbose=False)
        data = self.data.reseeded(cell.seed)
        conditions = [
            Condition(
                name, family=name, rate=float("nan"), missing=m.reseeded(cell.seed) if m else None
            )
            for name, m in self.conditions.items()
        ]
        if cell.variant in BASELINES:
            data.setup("fit")
            scores = baseline_scores(cell.variant, data, conditions, cell.seed)
            return scores.assign(protocol=HONEST), {
                "parameters": float("nan"),
                "seconds_per_epoch": float("nan"),
            }
        return self._train(cell, data, conditions)

    def _train(
        self, cell: Cell, data: FusionDataModule, conditions: list[Condition]
    ) -> tuple[pd.DataFrame, dict[str, Any]]:
        variant = self.fusions[cell.variant]
        own = isinstance(variant, SupervisedTask)
        task = variant.fresh() if own else self.task.fresh(fusion=variant)
        clock, watch = EpochClock(), BestTestEpoch()
        folder = Path(tempfile.mkdtemp(prefix="run-", dir=self.store.folder))
        try:
            callbacks = [clock, *([watch] if self.best_test_epoch else [])]
            trainer = self.make_trainer(folder, callbacks)
            trainer.fit(task, datamodule=data)
            model = load(trainer.checkpoint_callback.best_model_path)  # type: ignore[union-attr]
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        result = evaluate(
            model,
            data.loader("test"),
            data.facts("test"),
            conditions,
            bootstrap=0,
            importance=False,
        )
        columns = ["condition", "target", "metric", "value"]
        protocol = HONEST if len(data.rows("val")) else LAST
        scores = result.conditions[columns].assign(protocol=protocol)
        if self.best_test_epoch:
            scores = pd.concat([scores, watch.best().assign(protocol=BEST_TEST)])
        return scores, {
            "parameters": sum(p.numel() for p in model.parameters()),
            "seconds_per_epoch": clock.seconds_per_epoch,
            "epochs": trainer.current_epoch,
        }


def _own(variant: Any) -> dict[str, Any]:
    """What sets a variant apart, in plain data."""
    if isinstance(variant, SupervisedTask):
        return {"task": variant.settings()}
    return {"fusion": in_words(variant)}


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot write the study's folder {folder}: {error}.") from error


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    )
