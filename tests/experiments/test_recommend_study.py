"""The studies of recommenders run, in short, on the real data."""

import importlib
import os
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "experiments" / "recommend"
NAMES = ("training", "lines", "tune", "run", "ablation", "absence")
needs_data = pytest.mark.skipif("MMFUSE_DATA" not in os.environ, reason="needs the data mirror")


@pytest.fixture
def script(monkeypatch):
    """Imports a script as if its folder were where Python runs."""
    monkeypatch.syspath_prepend(FOLDER)
    for own in NAMES:
        monkeypatch.delitem(sys.modules, own, raising=False)
    return importlib.import_module


@pytest.fixture
def run(script, monkeypatch):
    """Runs a script with words."""

    def call(name, *words):
        module = script(name)
        monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
        module.main()

    return call


def test_every_preset_of_the_study_has_a_space_whose_paths_it_has(script):
    tune, training = script("tune"), script("training")
    spaces = yaml.safe_load((FOLDER / "spaces.yaml").read_text())
    assert sorted(spaces) == training.NAMES
    for name, space in spaces.items():
        content = tune.with_optimizer(training.preset(name))
        now = tune.standing(content, [tune.RATE, *space])
        assert now[tune.RATE] == 1e-3
        # The preset as it stands is the first trial, so that it must lie within the space.
        for path, choices in space.items():
            if len(choices) == 2:
                assert choices[0] <= now[path] <= choices[1]
            else:
                assert now[path] in choices


def test_another_value_leaves_the_rest_and_the_original(script):
    training = script("training")
    content = {"a": [{"b": 1}, {"b": 2}], "c": 3}
    assert training.changed(content, {"a.1.b": 5}) == {"a": [{"b": 1}, {"b": 5}], "c": 3}
    assert content["a"][1]["b"] == 2
    with pytest.raises(KeyError):
        training.changed(content, {"d.e": 1})


def test_lines_that_are_there_are_known_after_reading_them_again(script, tmp_path):
    lines = script("lines").Lines
    first = lines(tmp_path / "scores.csv")
    assert not first.has({"model": "a", "seed": 0})
    first.add([{"model": "a", "seed": 0, "value": 0.5}])
    again = lines(tmp_path / "scores.csv")
    assert again.has({"model": "a", "seed": 0})
    assert not again.has({"model": "a", "seed": 1})


def test_a_preset_that_is_not_tuned_says_what_to_run(script, monkeypatch, tmp_path):
    training = script("training")
    monkeypatch.setattr(training, "TUNED", tmp_path)
    with pytest.raises(SystemExit, match=r"tune\.py --presets vbpr"):
        training.preset("vbpr", "tiktok")


@pytest.mark.data
@pytest.mark.slow
@needs_data
def test_a_search_goes_on_where_it_stopped_and_its_choice_runs(run, script, monkeypatch, tmp_path):
    pytest.importorskip("optuna")
    for trials in (1, 2):
        run("tune", "--presets", "vbpr", "--trials", trials, "--epochs", 2, "--out", tmp_path)
    trials = pd.read_csv(tmp_path / "tiktok" / "trials" / "vbpr.csv")
    assert len(trials) == 2
    assert (trials["user_attrs_cpu_minutes"] > 0).all()
    monkeypatch.setattr(script("training"), "TUNED", tmp_path)
    short = ["--epochs", 2, "--seeds", 0, 1, "--out", tmp_path]
    run("run", "--presets", "vbpr", *short)
    run("run", "--presets", "vbpr", "--setting", "leaky", *short)
    scores = pd.read_csv(tmp_path / "scores.csv")
    assert scores["model"].tolist() == ["popularity", "item_knn"] + ["vbpr"] * 4
    right, leaky = (scores[scores["setting"] == s]["ndcg_at_20"] for s in ("tuned", "leaky"))
    assert (right.to_numpy() != leaky.to_numpy()).any()
    assert "| vbpr, leaking |" in (tmp_path / "table.md").read_text()
    run("ablation", "--fusions", "GatedFusion", *short)
    assert pd.read_csv(tmp_path / "ablation.csv")["seed"].tolist() == [0, 1]
    monkeypatch.setattr(script("absence"), "MASK_SEEDS", (0,))
    monkeypatch.setattr(script("absence"), "DROPOUT", {"": 0.0})
    run("absence", "--presets", "vbpr", "--epochs", 2, "--seeds", 0, "--out", tmp_path)
    absence = pd.read_csv(tmp_path / "absence.csv")
    assert set(absence["fill"]) == {"absent", "zero", "mean"}
    assert (tmp_path / "absence.png").is_file()
