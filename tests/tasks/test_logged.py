"""Values that are logged all at once arrive wherever ``self.log`` brings them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from planted import planted

from mmfuse.tasks import RecommendationTask, ranked_task
from mmfuse.tasks.logged import log_all
from mmfuse.trainer import Trainer


def each_in_turn(task, values, shown):
    for name, value in values.items():
        task.log(name, value, prog_bar=name in shown)


def everything(folder: Path, sanity: int) -> list:
    """What two epochs, a validation and a test leave: in callbacks, loggers, bar and results."""
    torch.manual_seed(0)
    data, task = planted(seed=0), RecommendationTask(ks=[5, 20])
    runs = Trainer(
        max_epochs=2,
        default_root_dir=str(folder),
        enable_progress_bar=False,
        num_sanity_val_steps=sanity,
        accelerator="cpu",
        logger=True,
    )
    runs.fit(task, datamodule=data)
    told = [dict(runs.callback_metrics), set(runs.logged_metrics), dict(runs.progress_bar_metrics)]
    for run in (runs.validate, runs.test):
        told += [run(task, datamodule=data, verbose=False), dict(runs.callback_metrics)]
    told.append(pd.read_csv(folder / "version_0/metrics.csv").sort_index(axis=1))
    return told


@pytest.mark.parametrize("sanity", [0, 1])
def test_they_arrive_where_each_in_turn_does(tmp_path, monkeypatch, capsys, sanity):
    found = everything(tmp_path / "one", sanity)
    monkeypatch.setattr(ranked_task, "log_all", each_in_turn)
    wanted = everything(tmp_path / "other", sanity)
    pd.testing.assert_frame_equal(found.pop(), wanted.pop())
    assert found == wanted
    assert "test/novelty" in found[-1]
    assert found[-2][0]["test/recall_at_5"] > 0


def test_without_lightnings_own_name_each_is_logged_in_turn():
    class Loop:
        pass

    class Runs:
        fit_loop = type("Fit", (), {"epoch_loop": type("Epoch", (), {"val_loop": Loop()})})
        validate_loop = test_loop = Loop()
        state = type("State", (), {"fn": "test"})
        sanity_checking, testing = False, True

    logged = {}
    task = type("Task", (), {"trainer": Runs, "log": lambda n, v, prog_bar: logged.update({n: v})})
    log_all(task, {"a": 1.0, "b": 2.0}, {"b"})
    assert logged == {"a": 1.0, "b": 2.0}
