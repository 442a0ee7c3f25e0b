"""The study of merging: its tables say what its scores say, and it goes on where it stopped."""

import importlib.util
import sys
from pathlib import Path

import pandas as pd
import pytest

PATH = Path(__file__).parents[2] / "experiments/merging/run.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("merging_study", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules["merging_study"] = module  # where dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["merging_study"]


def scores():
    found = {"mean of members": (0.5, 0.6), "average": (0.6, 0.8), "ensemble": (0.7, 0.7)}
    found["best member"] = (0.5, 0.7)
    return pd.DataFrame(
        {"data": "d", "seed": s, "group": "seeds", "model": m, "condition": "c", "accuracy": a}
        for m, each in found.items()
        for s, a in enumerate(each)
    )


def test_the_table_gives_mean_and_interval(script):
    lines = script.table(scores()).splitlines()
    assert lines[0] == "| tuned | model | c |"
    assert "| seeds | average | 0.700 ± 1.271 |" in lines


def test_what_the_average_adds_is_compared_seed_by_seed(script):
    lines = script.gains(scores()).splitlines()
    assert "| seeds | mean of members | +0.150 ± 0.635 |" in lines
    assert "| seeds | ensemble | +0.000 ± 1.271 |" in lines


@pytest.mark.slow
def test_the_study_runs_and_goes_on(script, tmp_path, monkeypatch):
    words = ["run.py", "--out", str(tmp_path), "--sets", "digits_quadrants", "--seeds", "0"]
    monkeypatch.setattr(sys, "argv", [*words, "--epochs", "1", "1"])
    script.main()
    found = pd.read_csv(tmp_path / "scores.csv")
    assert {"seeds", "absences", "ratatouille", "fusing", "different starts"} < set(found["group"])
    assert found["accuracy"].between(0, 1).all()
    before = (tmp_path / "scores.csv").stat().st_mtime_ns
    script.main()
    assert (tmp_path / "scores.csv").stat().st_mtime_ns == before
    assert (tmp_path / "curves.png").is_file()
