"""The study of distillation: pictures of sounds, what validation rows choose, and its tables."""

import importlib
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mmfuse.media import Sound

FOLDER = Path(__file__).parents[2] / "experiments/distill"
MODULES = ("setting", "stages", "tables", "clips", "digits", "run")
BESIDE = ("folds", "baseline", "progress")
needs_data = pytest.mark.skipif("MMFUSE_DATA" not in os.environ, reason="needs the data mirror")


@pytest.fixture(scope="module")
def study():
    """The modules of the study, forgotten afterwards, as their names are short."""
    before = list(sys.path)
    sys.path.insert(0, str(FOLDER))
    for name in (*MODULES, *BESIDE):
        sys.modules.pop(name, None)
    yield {name: importlib.import_module(name) for name in MODULES}
    for name in (*MODULES, *BESIDE):
        sys.modules.pop(name, None)
    sys.path[:] = before


def tone(pitch, seconds, rate=44_100):
    time = np.arange(int(rate * seconds)) / rate
    return Sound(np.sin(2 * np.pi * pitch * time, dtype=np.float32)[None], rate)


def test_a_picture_shows_when_and_how_high_a_sound_is(study):
    picture = study["clips"].picture
    low, high = picture(tone(200, 1.0)), picture(tone(6000, 7.0))
    assert low.shape == high.shape == (1, 16, 20)
    assert low.max() == high.max() == 1
    assert low[0, :, 6:].max() == -1  # silence after the first second
    assert low[0, :, 0].argmax() < high[0, :, 0].argmax()


def test_a_picture_does_not_tell_how_loud_a_sound_is_and_the_timbre_does(study):
    clips, loud = study["clips"], tone(440, 2.0)
    soft = Sound(loud.samples * 0.1, loud.rate)
    np.testing.assert_allclose(clips.picture(soft)[0, 2], clips.picture(loud)[0, 2], atol=0.01)
    assert np.abs(clips.timbre(soft) - clips.timbre(loud)).max() > 10


def test_what_is_seen_and_heard_is_read_from_its_file(study, tmp_path):
    made = {"sound": np.ones((2, 80)), "picture": np.arange(2 * 320.0).reshape(2, 1, 16, 20)}
    np.savez(tmp_path / "views.npz", **made)
    found = study["clips"].views(tmp_path / "views.npz")
    assert np.array_equal(found["first second"], made["picture"][..., :4])


def test_each_part_that_tests_has_the_weight_of_its_own_validation_rows(study):
    lines = [
        {"student": "sound", "way": "features", "test": test, "weight": weight, "seed": seed,
         "accuracy": value}
        for test, weight, values in [(1, 0.1, (0.5, 0.8)), (1, 1.0, (0.9, 0.3)),
                                     (2, 0.1, (0.5, 0.5)), (2, 1.0, (0.4, 0.7))]
        for seed, value in enumerate(values)
    ]  # fmt: skip
    assert study["tables"].chosen(pd.DataFrame(lines)) == {
        ("sound", "features", 1): 0.1,
        ("sound", "features", 2): 1.0,
    }


def scored(accuracies):
    """Scores of the ways that a table needs, all alike but for those given."""
    ways = ("alone", "alone, longer", "features", "co-trained, soft targets",
            "MST-Distill, hard router", "MST-Distill, weighted router")  # fmt: skip
    cells = [(test, seed) for test in (1, 2) for seed in (0, 1)]
    return pd.DataFrame(
        {"student": "picture", "way": way, "test": test, "seed": seed,
         "weight": (0.1, 1.0)[test - 1], "accuracy": value, "log_loss": 1 - value}
        for way in ways
        for (test, seed), value in zip(
            cells, accuracies.get(way, (0.5, 0.5, 0.5, 0.5)), strict=True
        )
    )  # fmt: skip


def test_the_interval_is_over_folds_and_each_is_the_mean_of_its_seeds(study):
    told = study["tables"].table(scored({"features": (0.5, 0.7, 0.7, 0.9)}), "test")
    (line,) = (line for line in told.splitlines() if line.startswith("| features"))
    assert line.startswith("| features | 0.1 (50%), 1 (50%) | 0.700 ± 1.271 | +0.200 ± 1.271 |")
    assert "over 2 folds, each the mean of 2 seeds" in told


def test_differences_are_taken_seed_by_seed(study):
    given = {
        "alone": (0.4, 0.8, 0.6, 1.0),
        "features": (0.5, 0.9, 0.7, 1.1),
        "co-trained, soft targets": (0.3, 0.7, 0.3, 0.7),
    }
    told = study["tables"].table(scored(given), "seed")
    (line,) = (line for line in told.splitlines() if line.startswith("| features"))
    assert "| 0.800 ± 2.541 | +0.100 ± 0.000 |" in line
    assert (
        "MST-Distill, hard router less co-trained, soft targets: accuracy +0.000 ± 2.541." in told
    )


@pytest.mark.data
@needs_data
def test_no_recording_of_the_clips_is_in_two_parts(study, tmp_path):
    (tmp_path / "esc10").mkdir()
    made = {"sound": np.zeros((400, 80)), "picture": np.zeros((400, 1, 16, 20))}
    np.savez(tmp_path / "esc10/views.npz", **made)
    table = pd.read_csv(Path(os.environ["MMFUSE_DATA"]) / "esc10/metadata.csv")
    recording = table["file"].str.split("-").str[1]
    for seed in (0, 1):
        rows = study["clips"].Clips(tmp_path).rows(3, seed)
        used = rows.split != ""
        assert (recording[used].groupby(recording).apply(
            lambda own, split=rows.split: len(set(split[own.index]))
        ) == 1).all()  # fmt: skip
        assert set(table["fold"][rows.split == "test"]) == {3}


@pytest.mark.data
@pytest.mark.slow
@needs_data
@pytest.mark.parametrize(("name", "words"), [("esc10", ["--tests", "1"]), ("av_digits", [])])
def test_a_seed_runs_once_and_is_not_run_again(study, tmp_path, monkeypatch, capsys, name, words):
    words = [*words, "--seeds", "0", "--epochs", "1", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["run.py", name, *words, "--runs", str(tmp_path / "r")])
    with torch.random.fork_rng():
        study["run"].main()
        scores = (tmp_path / name / "scores.csv").read_bytes()
        study["run"].main()
    assert (tmp_path / name / "scores.csv").read_bytes() == scores
    said = capsys.readouterr().out
    assert said.count(" alone 0.0\n") == said.count(" alone\n") == 2  # validated, tested; twice
    found = pd.read_csv(tmp_path / name / "scores.csv")
    assert {"alone", *study["stages"].WAYS} < set(found["way"])
    assert found["accuracy"].between(0, 1).all()
