"""The study of distillation: weights are chosen by validation rows, and its table."""

import importlib.util
import os
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

FOLDER = Path(__file__).parents[2] / "experiments/distill"


@pytest.fixture(scope="module")
def study():
    spec = importlib.util.spec_from_file_location("distill_study", FOLDER / "run.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["distill_study"] = module  # where dataclasses look for their annotations
    spec.loader.exec_module(module)
    yield module
    del sys.modules["distill_study"]


def test_the_weight_with_the_best_mean_validation_accuracy_is_chosen(study):
    lines = [
        {"student": "sound", "way": "features", "weight": weight, "seed": seed, "accuracy": value}
        for weight, values in {0.1: (0.5, 0.8), 1.0: (0.9, 0.3)}.items()
        for seed, value in enumerate(values)
    ]
    assert study.chosen(pd.DataFrame(lines)) == {("sound", "features"): 0.1}


def test_differences_are_taken_seed_by_seed(study):
    lines = [
        {"student": "sound", "way": way, "seed": seed, "weight": 1.0, "accuracy": value,
         "log_loss": 1 - value}
        for way, values in {
            "alone": (0.6, 0.8), "features": (0.7, 0.9), "co-trained, soft targets": (0.5, 0.7),
            "MST-Distill, hard router": (0.6, 0.6), "MST-Distill, weighted router": (0.6, 0.8),
        }.items()
        for seed, value in enumerate(values)
    ]  # fmt: skip
    told = study.table(pd.DataFrame(lines)).splitlines()
    (features,) = (line for line in told if line.startswith("| features"))
    assert "| 0.800 ± 1.271 | +0.100 ± 0.000 |" in features
    assert "-0.100 ± 0.000" in features
    assert any(line.endswith("soft targets: accuracy +0.100 ± 0.000.") for line in told)


def test_a_line_is_made_once(study, tmp_path):
    made = []
    for _ in range(2):
        study.add(tmp_path / "a.csv", {"way": "x", "seed": 0}, lambda: made.append(1) or {"v": 0.5})
    study.add(tmp_path / "a.csv", {"way": "x", "seed": 1}, lambda: {"v": 1.0})
    assert made == [1]
    assert len(pd.read_csv(tmp_path / "a.csv")) == 2


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.skipif("MMFUSE_DATA" not in os.environ, reason="needs the data mirror")
def test_a_seed_runs_once_and_is_not_run_again(study, tmp_path, monkeypatch, capsys):
    words = ["--seeds", "0", "--epochs", "1", "--out", str(tmp_path), "--runs", str(tmp_path / "r")]
    monkeypatch.setattr(sys, "argv", ["run.py", *words])
    with torch.random.fork_rng():
        study.main()
        scores = (tmp_path / "scores.csv").read_bytes()
        study.main()
    assert (tmp_path / "scores.csv").read_bytes() == scores
    assert capsys.readouterr().out.count("sound alone 0") == 1
    found = pd.read_csv(tmp_path / "scores.csv")
    assert {"alone", *study.WAYS} < set(found["way"])
