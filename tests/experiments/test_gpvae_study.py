"""The study of planted latents: what is planted, its scores, and that it goes on."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

FOLDER = Path(__file__).parents[2] / "experiments/gpvae"


@pytest.fixture(scope="module")
def study():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        spec = importlib.util.spec_from_file_location("gpvae_study", FOLDER / "run.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
        sys.modules.pop("planted_trials", None)


def test_what_is_planted_is_what_it_says(study):
    trials = study.planted(0)
    for latent in trials.latents.values():
        assert latent.std() == pytest.approx(1, abs=0.05)
        smooth = np.mean(latent[:, 1:] * latent[:, :-1]) / np.mean(latent**2)
        assert smooth > 0.97
    # Nothing that the shared latent tells can be better than the expectation given it.
    for m in study.MODALITIES:
        seen = getattr(trials, m).astype(float)
        assert 0.1 < study.r2(seen, trials.expected[m]) < 0.8


def test_a_wider_look_repeats_the_ends(study):
    x = np.arange(4.0).reshape(1, 4, 1)
    found = study.around(x)
    assert found.shape == (1, 4, 2 * study.AROUND + 1)
    assert found[0, 0].tolist() == [0.0] * (study.AROUND + 1) + [1, 2, 3, 3, 3]


@pytest.mark.slow
def test_a_seed_runs_once(study, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        sys, "argv", ["run.py", "--seeds", "0", "--epochs", "1", "--out", str(tmp_path)]
    )
    with torch.random.fork_rng():
        study.main()
        study.main()
    assert capsys.readouterr().out.count("seed 0: done") == 1
    found = pd.read_csv(tmp_path / "scores.csv")
    assert set(found["what"]) == {
        "latent shared", "latent spikes", "latent signal", "spikes from signal",
        "signal from spikes",
    }  # fmt: skip
