"""The study of CRMT: every training runs, certified radii hold, and it goes on where it stopped."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

FOLDER = Path(__file__).parents[2] / "experiments/crmt"


@pytest.fixture(scope="module")
def study():
    spec = importlib.util.spec_from_file_location("crmt_study", FOLDER / "run.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["crmt_study"] = module  # where dataclasses look for their annotations
    spec.loader.exec_module(module)
    yield module
    del sys.modules["crmt_study"]


def rows(study):
    """Two modalities that tell three digits."""
    draw = np.random.default_rng(0)
    label = draw.integers(0, 3, 90)
    inputs = {m: np.eye(3)[label] * 3 + draw.normal(size=(90, 3)) for m in ("sound", "image")}
    return study.Columns(inputs, label, np.arange(90) < 30)


def test_it_runs_goes_on_and_certified_radii_hold(study, tmp_path, monkeypatch, capsys):
    columns = rows(study)
    monkeypatch.setattr(study.Columns, "of", lambda name: columns)
    words = ["run.py", "--out", str(tmp_path), "--seeds", "0", "--epochs", "3", "--steps", "3"]
    monkeypatch.setattr(sys, "argv", words)
    study.main()
    scores = pd.read_csv(tmp_path / "scores.csv")
    assert set(scores["training"]) == {*study.TRAININGS, study.BASELINE}
    broken = scores[(scores["what"] == "radius broken") & (scores["of"] == "certified")]
    assert len(broken)
    assert broken["value"].eq(0).all()
    capsys.readouterr()
    study.main()
    assert "done" not in capsys.readouterr().out
    assert pd.read_csv(tmp_path / "scores.csv").equals(scores)
    assert "| steps 1, 2 | certified |" in (tmp_path / "table.md").read_text()


def test_the_committed_table_is_of_the_committed_scores(study):
    told = study.tables(pd.read_csv(FOLDER / "scores.csv"))
    assert told == (FOLDER / "table.md").read_text()
    assert told.strip() in (FOLDER / "README.md").read_text()
