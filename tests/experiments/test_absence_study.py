"""The study of training for absence: every method runs, fills are what they say, it goes on."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mmfuse.missing import FixedPattern

FOLDER = Path(__file__).parents[2] / "experiments/absence"
NAMES = ("run", "methods", "filled", "tables", "survival")


@pytest.fixture
def script(monkeypatch):
    """Imports a script as if its folder were where Python runs."""
    monkeypatch.syspath_prepend(FOLDER)
    for own in NAMES:
        monkeypatch.delitem(sys.modules, own, raising=False)
    yield importlib.import_module
    for own in NAMES:  # other studies have scripts of these names too
        sys.modules.pop(own, None)


def planted(run):
    """Two modalities that tell three classes."""
    draw = np.random.default_rng(0)
    label = draw.integers(0, 3, 120)
    inputs = {
        m: (np.eye(3)[label] * 3 + draw.normal(size=(120, 3)) + 5).astype(np.float32)
        for m in ("a", "b")
    }
    return run.Columns(inputs, label, np.arange(120) < 40)


def test_a_fill_is_the_encoding_of_what_stands_in(script):
    run, methods, filled = script("run"), script("methods"), script("filled")
    data = planted(run).data(0)
    model = run.fitted(methods.METHODS["declared absent"], data, 0, epochs=1).eval()
    (batch,) = data.loader("test")
    alone = batch.keep(FixedPattern(["a"]).keep(data.facts("test")))
    for fill in ("zeros", "means"):
        value = torch.zeros(3) if fill == "zeros" else torch.tensor(data.spec.modalities["b"].mean)
        inputs = {"a": batch.inputs["a"], "b": value.expand(len(batch), 3)}
        with torch.no_grad():
            expected = model(type(batch)(batch.modalities, inputs, torch.ones_like(batch.present)))
            found = filled.filled(model, fill).eval()(alone)
        torch.testing.assert_close(found.logits["y"], expected.logits["y"])


def test_the_ceiling_and_the_baseline_answer_from_what_is_there(script):
    run = script("run")
    columns = planted(run)
    for lines in (run.baseline(columns.data(0)), run.ceiling(columns, 0, epochs=12)):
        value = pd.DataFrame(lines).groupby("what")["value"].mean()
        assert value["complete"] > 0.8
        assert value["complete"] >= value["worst subset"] > 0.5
        assert value["empty"] < 0.7


def test_it_runs_and_goes_on(script, tmp_path, monkeypatch, capsys):
    run = script("run")
    columns = planted(run)
    monkeypatch.setattr(run.Columns, "of", lambda name: columns)
    chosen = ["DisPro", "MMIN cascade", "zeros, not told", run.BASELINE]
    words = ["--out", str(tmp_path), "--sets", "planted", "--seeds", "0", "--epochs", "1"]
    monkeypatch.setattr(sys, "argv", ["run.py", *words, "--methods", *chosen])
    run.main()
    scores = pd.read_csv(tmp_path / "scores.csv")
    assert set(scores["method"]) == set(chosen)
    assert set(scores["mask_seed"]) == set(range(run.MASK_SEEDS))
    capsys.readouterr()
    run.main()
    assert "done" not in capsys.readouterr().out
    assert pd.read_csv(tmp_path / "scores.csv").equals(scores)


@pytest.mark.slow
def test_every_method_trains(script):
    run, methods = script("run"), script("methods")
    data = planted(run).data(0)
    for method in methods.METHODS.values():
        lines = run.measured(run.fitted(method, data, 0, epochs=1), data)
        assert np.isfinite([line["value"] for line in lines]).all()


def test_the_committed_tables_are_of_the_committed_scores(script):
    told = (FOLDER / "README.md").read_text()
    for scores, name, of in (
        ("scores.csv", "table.md", script("tables").tables),
        ("survival.csv", "survival.md", script("survival").table),
    ):
        made = of(pd.read_csv(FOLDER / scores))
        assert made == (FOLDER / name).read_text()
        assert made.split("\n\n")[0] in told
