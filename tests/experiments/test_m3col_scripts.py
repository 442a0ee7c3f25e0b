"""The studies of M3CoL and ITHP run, in short, on the real data."""

import importlib
import json
import os
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from mmfuse.compare.study import HONEST, LAST
from mmfuse.tokens import Tokens

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
needs_data = pytest.mark.skipif("MMFUSE_DATA" not in os.environ, reason="needs the data mirror")


@pytest.fixture
def script(monkeypatch):
    """Imports a script as if its folder were where Python runs; gives its main with words."""

    def load(study, name):
        monkeypatch.syspath_prepend(EXPERIMENTS / study)
        for own in ("run", "setting", "shuffled", "tune"):
            monkeypatch.delitem(sys.modules, own, raising=False)
        return importlib.import_module(name)

    return load


@pytest.fixture
def run(script, monkeypatch):
    def call(study, name, *words):
        module = script(study, name)
        monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
        module.main()

    return call


def test_other_rows_detectors_are_those_of_one_other_row(script):
    shuffled = script("mosi", "shuffled")
    torch.manual_seed(0)
    tokens = {m: Tokens.of(torch.arange(8.0).unsqueeze(1)) for m in "abc"}
    found = shuffled.permuted(tokens, ["b", "c"])
    assert found["a"] is tokens["a"]
    assert torch.equal(found["b"].values, found["c"].values)
    assert sorted(found["b"].values.flatten().tolist()) == list(range(8))
    assert not torch.equal(found["b"].values, tokens["b"].values)


def test_the_ablation_has_one_line_for_each_loss(script):
    setting = script("m3col", "setting")
    lines = setting.contrast(0.1, 0.33)
    assert list(lines) == ["no contrast", "CLIP", "M3Co", "soft-CLIP", "M3CoL"]
    at = {p: [o.factor(p) > 0 for o in lines["M3CoL"]] for p in (0.1, 0.9)}
    assert at == {0.1: [True, False], 0.9: [False, True]}


@pytest.mark.data
@pytest.mark.slow
@needs_data
@pytest.mark.parametrize(("protocol", "called"), [("validation", HONEST), ("published", LAST)])
def test_the_ablation_runs_under_either_protocol(run, tmp_path, protocol, called):
    short = ["--epochs", 1, "--seeds", 1, "--width", 8, "--only", "CLIP", "M3CoL"]
    run("m3col", "run", protocol, *short, "--out", tmp_path)
    table = pd.read_csv(tmp_path / "table.csv")
    assert {"CLIP", "M3CoL"} <= set(table["variant"])
    assert table["protocol"].iloc[0] == called


@pytest.mark.data
@pytest.mark.slow
@needs_data
def test_a_search_goes_on_where_it_stopped_and_leaves_a_setting(run, tmp_path):
    pytest.importorskip("optuna")
    for trials in (1, 2):
        run("m3col", "tune", "--trials", trials, "--epochs", 1, "--out", tmp_path)
    assert len(pd.read_csv(tmp_path / "trials.csv")) == 2
    chosen = json.loads((tmp_path / "chosen.json").read_text())
    assert set(chosen) == set(importlib.import_module("setting").PAPER)


@pytest.mark.data
@pytest.mark.slow
@needs_data
def test_the_study_of_utterances_has_its_controls(run, tmp_path):
    run("mosi", "run", "--epochs", 1, "--seeds", 1, "--out", tmp_path)
    table = pd.read_csv(tmp_path / "table.csv")
    accuracy = table[table["metric"] == "accuracy"].pivot(
        index="variant", columns="condition", values="mean"
    )
    chains = [name for name in accuracy.index if name.startswith("ITHP")]
    assert len(chains) == 7
    # The prime is text: without detectors nothing changes.
    assert (accuracy["complete"] == accuracy["text alone"])[chains].all()
