"""The study of unknown digits: what it trains, its tables, and that it goes on where it stopped."""

import importlib.util
import os
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

FOLDER = Path(__file__).parents[2] / "experiments/ood"


@pytest.fixture(scope="module")
def study():
    spec = importlib.util.spec_from_file_location("ood_study", FOLDER / "run.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["ood_study"] = module  # where dataclasses look for their annotations
    spec.loader.exec_module(module)
    yield module
    del sys.modules["ood_study"]


def test_the_ratios_are_those_of_the_authors_times_the_heads(study):
    made = {name: make() for name, make in study.trainings(modalities=2, steps=100).items()}
    assert [len(o) for o in made.values()] == [1, 2, 2, 2]
    assert made["A2D"][1].ratio == 3
    mixed = made["A2D, NP-Mix"][1]
    assert (mixed.ratio, mixed.ratio_entropy, mixed.ratio_outlier) == (1.5, 1.5, 1.5)
    assert mixed.warmup == 20


def test_differences_are_taken_seed_by_seed(study):
    lines = [
        {"data": "d", "seed": seed, "training": training, "set": "unknown", "score": "energy",
         "metric": "auroc", "value": value}
        for training, values in {"unimodal heads": (0.6, 0.8), "A2D": (0.7, 0.9)}.items()
        for seed, value in enumerate(values)
    ]  # fmt: skip
    told = study.tables(pd.DataFrame(lines)).splitlines()
    assert told[0] == "## d"
    assert any(line.startswith("| A2D |") and "0.800 ± 1.271" in line for line in told)
    assert any(line.startswith("| A2D less") and "+0.100 ± 0.000" in line for line in told)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.skipif("MMFUSE_DATA" not in os.environ, reason="needs the data mirror")
def test_a_seed_runs_once_and_is_not_run_again(study, tmp_path, monkeypatch, capsys):
    words = ["--sets", "handwritten", "--seeds", "0", "--epochs", "1", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["run.py", *words])
    with torch.random.fork_rng():
        study.main()
        scores = (tmp_path / "scores.csv").read_bytes()
        study.main()
    assert (tmp_path / "scores.csv").read_bytes() == scores
    assert capsys.readouterr().out.count("handwritten, seed 0: done") == 1
    found = pd.read_csv(tmp_path / "scores.csv", keep_default_na=False)
    assert set(found["training"]) == set(study.trainings(6, 10))
    assert set(found["set"]) == {"in", "unknown", "noise"}
    assert found["value"].between(0, 1).all()
    assert (tmp_path / "table.md").read_text().count("| A2D") == 4
