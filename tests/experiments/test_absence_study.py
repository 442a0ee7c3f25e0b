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
NAMES = ("run", "methods", "fits", "filled", "tables", "tune", "survival")


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


def test_two_stages_share_the_epochs_and_frozen_encoders_stay(script, monkeypatch):
    fits, methods, run = script("fits"), script("methods"), script("run")
    tasks, epochs = [], []
    fit = fits.Trainer.fit

    def watched(trainer, task, **options):
        tasks.append(task)
        epochs.append(trainer.max_epochs)
        fit(trainer, task, **options)

    monkeypatch.setattr(fits.Trainer, "fit", watched)
    data = planted(run).data(0)
    run.fitted(methods.METHODS["SMIL mixture, two stages"], data, 0, epochs=4)
    assert epochs == [2, 2]
    assert [t.modality_dropout and t.modality_dropout.rate for t in tasks] == [None, 0.5]
    one, two = (t.model for t in tasks)
    torch.testing.assert_close(two.encoders.state_dict(), one.encoders.state_dict(), rtol=0, atol=0)
    first, second = one.fusion.state_dict(), two.fusion.state_dict()
    assert not torch.equal(first["imputer.weigh.weight"], second["imputer.weigh.weight"])
    assert torch.equal(first["imputer.priors"], second["imputer.priors"])


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


def test_validation_rows_choose_and_test_rows_are_of_the_chosen_alone(
    script, tmp_path, monkeypatch, capsys
):
    tune, run = script("tune"), script("run")
    columns, asked = planted(run), []
    monkeypatch.setattr(tune.Columns, "of", lambda name: columns)
    monkeypatch.setattr(tune, "FAMILIES", {"dropout": ("dropout .3", "dropout .5", "dropout .7")})

    def found(method, columns, seed, epochs, split="test"):
        asked.append((method, seed, split))
        value = {"dropout .3": 0.5, "dropout .5": 0.6, "dropout .7": 0.8}[method]
        return [{"what": tune.AREA, "value": value, "mask_seed": s} for s in range(2)]

    monkeypatch.setattr(tune, "lines_of", found)
    monkeypatch.setattr(run, "lines_of", found)
    words = ["--out", str(tmp_path), "--sets", "planted", "--seeds", "0", "1"]
    monkeypatch.setattr(sys, "argv", ["tune.py", *words])
    tune.main()
    settings = ("dropout .3", "dropout .5", "dropout .7")
    assert asked[:3] == [(m, tune.SEED, "val") for m in settings]
    assert set(asked[3:]) == {(m, s, "test") for m in settings[::2] for s in (0, 1)}
    line = (tmp_path / "tuning.md").read_text().splitlines()[-1]
    assert line.startswith("| planted | dropout | dropout .7 | 0.500, 0.600, 0.800 | 0.800 ± 0.000")
    del asked[:]
    tune.main()
    assert not asked
    # Of equals, the setting that the study shows.
    same = pd.DataFrame({"data": "planted", "method": settings, "value": 1.0})
    assert tune.chosen(same, "planted", "dropout") == "dropout .3"


@pytest.mark.slow
def test_every_method_trains(script):
    run = script("run")
    data = planted(run).data(0)
    for method in run.EVERY.values():
        lines = run.measured(run.fitted(method, data, 0, epochs=1), data)
        assert np.isfinite([line["value"] for line in lines]).all()


def test_differences_are_paired_by_seed(script):
    # Seeds differ more than methods do.
    areas = {"dropout .5": (0.4, 0.9), "dropout .5, two stages": (0.3, 0.8)}
    lines = [
        {"data": "x", "method": m, "seed": s, "mask_seed": 0, "what": w, "value": value[s]}
        for m, value in areas.items()
        for s in (0, 1)
        for w in ("complete", "area under MCAR", "worst subset", "mcar")
    ]
    told = script("tables").tables(pd.DataFrame(lines))
    assert "| two stages less one, no imputer | -0.100 ± 0.000 |" in told
    assert "ridge" not in told


def test_the_committed_tables_are_of_the_committed_scores(script):
    told = (FOLDER / "README.md").read_text()
    scores = pd.read_csv(FOLDER / "scores.csv")
    assert not scores.duplicated(["data", "method", "seed", "mask_seed", "what"]).any()
    made = script("tables").tables(scores)
    assert made == (FOLDER / "table.md").read_text()
    assert made in told
    made = script("survival").table(pd.read_csv(FOLDER / "survival.csv"))
    assert made == (FOLDER / "survival.md").read_text()
    assert made.split("\n\n")[0] in told
    every = pd.concat([scores, pd.read_csv(FOLDER / "tuned.csv")])
    made = script("tune").table(pd.read_csv(FOLDER / "tuning.csv"), every)
    assert made == (FOLDER / "tuning.md").read_text()
    assert made in told
