"""The study of blocks: what it compares, and its table."""

import importlib.util
import os
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

FOLDER = Path(__file__).parents[2] / "experiments/lego"


@pytest.fixture
def study(monkeypatch):
    """The study's module; ``tables`` is beside it."""
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.delitem(sys.modules, "tables", raising=False)
    spec = importlib.util.spec_from_file_location("study", FOLDER / "study.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules.pop("tables")
    return module


def test_the_table_pairs_every_model_with_concatenation(study):
    lines = [
        {"data": "d", "seed": seed, "model": model, "metric": "accuracy", "value": value}
        for model, values in {"trained concatenation": (0.6, 0.8), "merge": (0.7, 0.9)}.items()
        for seed, value in enumerate(values)
    ]
    summary = pd.DataFrame(study.rows_of_table(pd.DataFrame(lines).assign(parameters=7.0)))
    told = study.table(summary).splitlines()
    assert told[0] == "## d"
    assert "| merge | 0.800 ± 1.271 | +0.100 ± 0.000 |" in told
    assert told[-1].endswith("over 2 seeds or folds.")


def test_every_fold_of_a_survival_set_tests_once(study):
    assert study.data_of("tcga_blca", 0).settings()["init_args"]["name"] == "tcga_blca"
    assert study.data_of("tcga_blca", 3).settings()["init_args"]["name"] == "tcga_blca_fold3"
    assert study.data_of("rosmap", 3).settings()["init_args"]["name"] == "rosmap"


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.skipif("MMFUSE_DATA" not in os.environ, reason="needs the data mirror")
def test_a_seed_runs_once_and_is_not_run_again(study, tmp_path, monkeypatch, capsys):
    words = ["--data", "rosmap", "--seeds", "0", "--epochs", "1", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["study.py", *words])
    with torch.random.fork_rng():
        study.main()
        scores = pd.read_csv(tmp_path / "scores.csv")
        study.main()
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "scores.csv"), scores)
    assert capsys.readouterr().out.count("rosmap, seed 0") == 1
    models = set(scores["model"])
    assert {"block mrna", "merge harmonic, one start", "fuse weave, after 10"} <= models
    assert {"trained bottleneck", "linear model (scikit-learn)"} <= models
    assert scores["value"].between(0, 1).all()
