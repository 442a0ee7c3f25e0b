"""The study of interactions: it runs, goes on where it stopped, and its rules are honest."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

FOLDER = Path(__file__).parents[2] / "experiments/interactions"


@pytest.fixture(scope="module")
def study():
    spec = importlib.util.spec_from_file_location("interactions_study", FOLDER / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_it_runs_and_goes_on(study, tmp_path, monkeypatch, capsys):
    draw = np.random.default_rng(0)
    label = draw.integers(0, 2, 120)
    inputs = {m: np.eye(2)[label] + draw.normal(size=(120, 2)) for m in "abc"}
    columns = study.Columns(inputs, label, np.arange(120) < 40)
    monkeypatch.setattr(study.Columns, "of", lambda name: columns)
    words = ["--out", str(tmp_path), "--sets", "planted", "--seeds", "0", "1", "--epochs", "1"]
    monkeypatch.setattr(sys, "argv", ["run.py", *words])
    study.main()
    scores = pd.read_csv(tmp_path / "scores.csv")
    assert len(scores) == 3 * 2
    capsys.readouterr()
    study.main()
    assert "done" not in capsys.readouterr().out
    assert pd.read_csv(tmp_path / "scores.csv").equals(scores)


def test_a_rule_learns_its_threshold_and_side_from_the_other_pairs(study):
    late = pd.Series([0.5] * 6)
    measure = pd.Series([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    joint = late + pd.Series([-0.1, -0.1, -0.1, 0.1, 0.1, 0.1])
    for sign in (1, -1):  # on whichever side the joint fusion wins
        chosen = study._leave_one_out(sign * measure, joint, late)
        assert chosen > joint.mean() + 0.02
    lone = late + pd.Series([0.6, 0.0, 0.0, 0.0, 0.0, 0.0])
    blind = study._leave_one_out(measure, lone, late)
    assert blind == pytest.approx(0.5)  # the one pair that gains cannot choose for itself


def test_the_committed_table_is_of_the_committed_scores(study):
    told = study.tables(pd.read_csv(FOLDER / "scores.csv"))
    assert told == (FOLDER / "table.md").read_text()
    assert told.strip() in (FOLDER / "README.md").read_text()
