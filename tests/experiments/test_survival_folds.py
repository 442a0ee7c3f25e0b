"""The script of the survival study: its table, and one fold of one cancer."""

import importlib.util
import os
import sys
from pathlib import Path

import pandas as pd
import pytest

SCRIPT = Path(__file__).parents[2] / "experiments" / "survival" / "folds.py"
needs_data = pytest.mark.skipif("MMFUSE_DATA" not in os.environ, reason="needs the data mirror")


@pytest.fixture(scope="module")
def folds():
    spec = importlib.util.spec_from_file_location("survival_folds", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_has_each_cancers_interval_and_that_of_the_mean_over_cancers(folds):
    lines = [("x", 0, 0.6), ("x", 1, 0.8), ("y", 0, 0.5), ("y", 1, 0.5)]
    scores = pd.DataFrame(lines, columns=["cancer", "fold", "value"]).assign(
        model="a", metric="c_index"
    )
    assert folds.table(scores, "c_index").splitlines() == [
        "| c_index | X | Y | mean |",
        "|---|---|---|---|",
        "| a | 0.700 ± 1.271 | 0.500 ± 0.000 | 0.600 ± 0.635 |",
    ]


@pytest.mark.data
@pytest.mark.slow
@needs_data
def test_one_fold_gives_a_line_for_every_model(folds, tmp_path, monkeypatch):
    monkeypatch.setattr(folds, "EPOCHS", 1)
    given = ["--cancers", "gbmlgg", "--folds", "1", "--out", str(tmp_path), "--runs", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["folds.py", *given])
    folds.main()
    scores = pd.read_csv(tmp_path / "folds.csv")
    models = scores[scores["metric"] == "c_index"]["model"]
    assert len(models) == len(set(models)) == 2 * len(folds.FUSIONS) + 2 + 5
    assert scores["value"].between(0, 1).all()
