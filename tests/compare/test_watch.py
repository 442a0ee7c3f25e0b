"""The callbacks of a study: the clock of an epoch, and the watch on the test rows."""

import time

import lightning as L
import numpy as np
import pandas as pd
import pytest
import torch

from mmfuse.compare.watch import BestTestEpoch, EpochClock
from mmfuse.data import ArrayData
from mmfuse.missing import MCAR
from mmfuse.robustness import complete, evaluate
from mmfuse.tasks import SupervisedTask
from mmfuse.trainer import Trainer

ROWS = 60


def data(target=None, **options):
    draw = np.random.default_rng(0)
    label = np.arange(ROWS) % 2
    inputs = {m: draw.normal(size=(ROWS, 2)) + label[:, None] for m in "ab"}
    split = np.repeat(["train", "val", "test"], 20)
    given = label if target is None else target
    return ArrayData(inputs, given, **{"split": split, "batch_size": 10} | options)


def fitted(callbacks, rows, epochs=3, **options):
    L.seed_everything(0, verbose=False)
    trainer = Trainer(
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        callbacks=callbacks,
        **options,
    )
    task = SupervisedTask(fusion="MeanFusion", modality_dropout=0.2)
    trainer.fit(task, datamodule=rows)
    return task


class Recording(L.Callback):
    """What the test rows say after each epoch, found in another way."""

    def __init__(self, rows):
        self.rows, self.tables, self.modes = rows, [], []

    def on_train_epoch_end(self, trainer, pl_module):
        self.modes.append(pl_module.model.training)
        found = evaluate(
            pl_module.model,
            self.rows.loader("test"),
            self.rows.facts("test"),
            [complete()],
            bootstrap=0,
            importance=False,
        )
        self.tables.append(found.conditions.set_index(["target", "metric"])["value"])


def test_the_best_epoch_is_one_of_the_epochs_whole():
    rows = data()
    watch, record = BestTestEpoch(), Recording(rows)
    fitted([watch, record], rows, epochs=4)
    best = watch.best().set_index(["target", "metric"])["value"]
    accuracies = [t["y", "accuracy"] for t in record.tables]
    assert best["y", "accuracy"] == max(accuracies)
    pd.testing.assert_series_equal(best, record.tables[int(np.argmax(accuracies))])
    assert set(watch.best()["condition"]) == {"complete"}


@pytest.mark.parametrize(
    ("target", "metric", "best"),
    [
        (np.arange(ROWS) % 3, "accuracy", max),
        (np.linspace(-1, 1, ROWS), "rmse", min),
        (np.stack([np.arange(ROWS) % 2, np.arange(ROWS) // 2 % 2], axis=1), "auroc", max),
    ],
    ids=["classes", "values", "several labels"],
)
def test_each_kind_of_target_has_its_measure_of_best(target, metric, best):
    kinds = {"y": "multilabel"} if target.ndim == 2 else None
    rows = data(target, target_kinds=kinds)
    watch, record = BestTestEpoch(), Recording(rows)
    fitted([watch, record], rows)
    found = watch.best().set_index("metric")["value"]
    assert found[metric] == best(t["y", metric] for t in record.tables)


def test_the_first_of_several_targets_decides():
    draw = np.random.default_rng(1)
    rows = data({"one": draw.integers(2, size=ROWS), "two": draw.integers(2, size=ROWS)})
    watch, record = BestTestEpoch(), Recording(rows)
    fitted([watch, record], rows, epochs=6)
    best = watch.best().set_index(["target", "metric"])["value"]
    accuracies = [t["one", "accuracy"] for t in record.tables]
    pd.testing.assert_series_equal(best, record.tables[int(np.argmax(accuracies))])


def test_an_epoch_whose_measure_is_undefined_is_never_the_best():
    def epoch(auroc, brier):
        lines = [("complete", "y", "auroc", auroc), ("complete", "y", "brier", brier)]
        return pd.DataFrame(lines, columns=["condition", "target", "metric", "value"])

    watch = BestTestEpoch()
    watch._epochs = [epoch(np.nan, 0.1), epoch(0.2, 0.2), epoch(0.4, 0.3), epoch(np.nan, 0.4)]
    assert watch.best()["value"].tolist() == [0.4, 0.3]


def test_the_watch_moves_neither_weights_nor_mode_nor_random_numbers():
    results = []
    for callbacks in ([], [BestTestEpoch()]):
        task = fitted(callbacks, data(missing=MCAR(0.3)))
        results.append((task.state_dict(), torch.rand(3), task.model.training))
    (one, drawn_one, mode_one), (other, drawn_other, mode_other) = results
    assert all(torch.equal(one[k], other[k]) for k in one)
    assert torch.equal(drawn_one, drawn_other)
    assert mode_one == mode_other


def test_the_watch_works_without_validation_rows():
    watch = BestTestEpoch()
    fitted([watch], data(split=np.repeat(["train", "test"], 30), val=0.0))
    assert watch.best()["value"].notna().any()


class Slow(L.Callback):
    """Takes its time in training batches and, longer, in validation."""

    def on_train_batch_end(self, *args):
        time.sleep(0.02)

    def on_validation_epoch_end(self, *args):
        time.sleep(0.3)


def test_the_clock_counts_training_batches_and_no_validation():
    clock = EpochClock()
    fitted([Slow(), clock], data())
    assert 2 * 0.02 <= clock.seconds_per_epoch < 0.3


def test_a_clock_that_saw_no_epoch_does_not_know():
    assert np.isnan(EpochClock().seconds_per_epoch)


def test_one_slow_epoch_does_not_move_the_clocks_answer():
    clock = EpochClock()
    clock._times = [0.1, 9.0, 0.2]
    assert clock.seconds_per_epoch == 0.2
