"""The demo: handwritten digits seen as four quadrants, some of them absent, and not at random.

Trains a sequential fusion and a concatenation on rows in which the digits 5 to 9 lose most of
their quadrants, so that absence gives the label away. Then evaluates both under every
condition of absence, and writes one report. See README.md beside this file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import lightning as L
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mmfuse import CatalogueData, SupervisedTask, Trainer, load
from mmfuse.baselines import BASELINES, modality_scores
from mmfuse.missing import LabelMNAR
from mmfuse.robustness import evaluate, label_groups, standard_conditions
from mmfuse.robustness.report import print_report, write_report

FUSIONS = {
    # In one fixed order, a state would tell how many quadrants a row had: see ../mnar.
    "sequential": {"class_path": "SequentialFusion", "init_args": {"order": "random"}},
    "concatenation": "ConcatFusion",
}


class Advance(L.Callback):
    """Moves the demo's one progress bar at the end of every epoch."""

    def __init__(self, bar: Progress, task: int) -> None:
        self.bar, self.task = bar, task

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """One epoch further."""
        self.bar.advance(self.task)


def quadrants() -> CatalogueData:
    """The digits; of 5 to 9 each quadrant is lost with probability 0.8 in training."""
    return CatalogueData(
        "digits_quadrants", missing=LabelMNAR(rate=0.8, groups=[5, 6, 7, 8, 9]), batch_size=32
    )


def main(out: Path, epochs: int, bootstrap: int) -> None:
    """Trains, evaluates and reports."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    results = {}
    with Progress(*columns, TimeElapsedColumn()) as bar:
        for name, fusion in FUSIONS.items():
            L.seed_everything(0, verbose=False)
            data, task = quadrants(), SupervisedTask(fusion=fusion)
            shown = bar.add_task(f"training {name}", total=epochs)
            trainer = Trainer(
                max_epochs=epochs,
                default_root_dir=str(out / name),
                enable_progress_bar=False,
                callbacks=[Advance(bar, shown)],
            )
            trainer.fit(task, datamodule=data)
            model = load(trainer.checkpoint_callback.best_model_path)
            conditions = standard_conditions(model.modalities, label_groups(model.spec))
            shown = bar.add_task(f"{len(conditions)} conditions of {name}", total=1)
            results[name] = evaluate(
                model,
                data.loader("test"),
                data.facts("test"),
                conditions,
                bootstrap=bootstrap,
                trained_with={"missing": "digits 5 to 9 lose each quadrant with probability 0.8"},
                progress=lambda done, shown=shown: bar.update(shown, completed=done),
            )
            results[name].save(out / name)
        count = len(BASELINES) * (len(data.spec.modalities) + 1)
        shown = bar.add_task("baselines on single quadrants", total=count)
        baselines = modality_scores(
            data, bootstrap=bootstrap, progress=lambda _: bar.advance(shown)
        )
    page = write_report(results, out, baselines, title="Digits in four quadrants, some absent")
    print_report(results, baselines)
    print(f"Report: {page.resolve()}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder of the report")
    parser.add_argument("--epochs", type=int, default=40, help="passes over the training rows")
    parser.add_argument("--bootstrap", type=int, default=1000, help="resamples of an interval")
    given = parser.parse_args()
    main(given.out, given.epochs, given.bootstrap)
