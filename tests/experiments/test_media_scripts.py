"""The scripts that put classical models beside the runs of raw media."""

import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from torchaudio.transforms import MFCC

from mmfuse.media import Sound

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
needs_data = pytest.mark.skipif("MMFUSE_DATA" not in os.environ, reason="needs the data mirror")


def script(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tone(pitch, rate, seconds):
    time = np.arange(int(rate * seconds)) / rate
    return Sound(np.sin(2 * np.pi * pitch * time, dtype=np.float32)[None], rate)


def test_sounds_of_any_length_have_as_many_features():
    folds = script(EXPERIMENTS / "esc10/folds.py")
    found = [folds.mfcc(tone(440, 16_000, s)) for s in (0.5, 5.0)]
    assert [f.shape for f in found] == [(80,), (80,)]
    assert np.isfinite(found).all()


def test_the_features_of_a_spoken_digit_tell_its_beginning_from_its_end():
    baseline = script(EXPERIMENTS / "av_digits/baseline.py")
    low, high = tone(300, 8000, 0.3).samples, tone(1500, 8000, 0.3).samples
    extract = MFCC(8000, n_mfcc=20, melkwargs={"n_fft": 256, "hop_length": 128, "n_mels": 32})
    rising = baseline.mfcc(Sound(np.concatenate([low, high], axis=1), 8000), extract)
    falling = baseline.mfcc(Sound(np.concatenate([high, low], axis=1), 8000), extract)
    assert len(rising) == 20 * (baseline.STRETCHES + 1)
    assert np.abs(rising - falling).max() > 10


def test_the_table_over_folds_gives_mean_and_interval():
    folds = script(EXPERIMENTS / "esc10/folds.py")
    scores = pd.DataFrame(
        {"model": ["a", "a"], "fold": [1, 2], "accuracy": [0.7, 0.8], "macro_f1": [0.5, 0.5]}
    )
    lines = folds.table(scores).splitlines()
    assert lines[2] == "| a | 0.750 ± 0.635 | 0.500 ± 0.000 | 0.700 0.800 |"
    assert lines[-1].endswith("over 2 folds.")


@pytest.mark.data
@pytest.mark.slow
@needs_data
def test_a_fold_runs_on_the_real_clips(tmp_path, monkeypatch, capsys):
    folds = script(EXPERIMENTS / "esc10/folds.py")
    words = ["folds.py", "--folds", "1", "--epochs", "1", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", words)
    folds.main()
    scores = pd.read_csv(tmp_path / "folds.csv").set_index("model")
    assert (scores["rows"] == 80).all()
    assert scores.loc["SVM on MFCC (scikit-learn)", "accuracy"] > 0.6
    assert folds.NETWORK in capsys.readouterr().out
