"""The study of binding: what it measures, which rows meet, and a run on a few rows."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

STUDY = Path(__file__).parents[2] / "experiments/binding"
MODULES = ("captions", "items", "measure")
needs_data = pytest.mark.skipif("MMFUSE_DATA" not in os.environ, reason="needs the data mirror")


@pytest.fixture
def study(monkeypatch):
    """The modules of the study, forgotten afterwards, as their names are short."""
    monkeypatch.syspath_prepend(STUDY)
    yield {name: importlib.import_module(name) for name in MODULES}
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def rows(study):
    """Two items a class and corpus; emoji of no class come last."""
    digits, kinds, others = np.repeat(np.arange(10), 2), np.arange(10, 20), np.full(5, -1)
    labels = {
        "written_digits": ("image", digits),
        "spoken_digits": ("sound", digits),
        "natural_sounds": ("sound", np.repeat(kinds, 2)),
        "emoji_pictures": ("image", np.concatenate([kinds, others])),
        "written_texts": ("text", digits),
        "spoken_texts": ("text", digits),
        "natural_texts": ("text", np.repeat(kinds, 2)),
        "emoji_texts": ("text", np.concatenate([kinds, others])),
    }
    items = study["items"]
    test = {c: items.Items(m, list(label), label) for c, (m, label) in labels.items()}
    return items.Rows({}, {}, test)


def by_class(rows, corpus):
    """A direction for each class, and for each emoji of no class."""
    label = torch.from_numpy(rows.test[corpus].label).clone()
    label[label < 0] = 20 + torch.arange(int((label < 0).sum()))
    return F.one_hot(label, 25).float()


def test_an_embedding_of_classes_finds_everything(study, rows):
    found = study["measure"].measure(lambda corpus: by_class(rows, corpus), rows)
    assert found == pytest.approx(dict.fromkeys(found, 1.0))


def test_what_has_no_vectors_is_at_chance(study, rows):
    found = study["measure"].measure(lambda corpus: None, rows)
    assert found["clip to its emoji, top 1"] == pytest.approx(0.1)
    assert found["written digit by name"] == pytest.approx(0.1)
    assert found["description to unseen emoji, top 10"] == pytest.approx(10 / 35)
    some = study["measure"].measure(
        lambda c: by_class(rows, c) if c.startswith("spoken") else None, rows
    )
    for score in ("digit image to sound", "digit sound to image", "joint image and sound"):
        assert some[score] == pytest.approx(found[score])
    assert some["spoken digit by name"] == 1


def test_a_test_phrase_is_no_caption(study):
    said = study["captions"]
    for trained in ("WRITTEN", "SPOKEN", "NATURAL"):
        assert not set(getattr(said, trained)) & set(getattr(said, f"{trained}_TEST"))


@pytest.mark.data
@pytest.mark.slow
@needs_data
def test_no_row_gives_both_halves_of_a_pair(study):
    source = study["items"].Source()
    source.written = study["items"].Items("image", np.arange(3000), source.written.label)
    source.spoken = study["items"].Items("sound", np.arange(3000), source.spoken.label)
    rows = source.rows(0)
    seen = {c: {*rows.trained[c][0].rows} for c in ("written", "spoken")}
    pooled = {c: {*rows.pooled[f"{c}_digits"].rows} for c in seen}
    tested = {*rows.test["written_digits"].rows}
    assert not seen["written"] & seen["spoken"]
    assert not pooled["written"] & pooled["spoken"]
    assert not tested & (seen["written"] | seen["spoken"] | pooled["written"] | pooled["spoken"])
    unseen = rows.test["emoji_texts"].rows[10:]
    assert not {*unseen} & {*rows.trained["emoji"][1]}


@pytest.mark.data
@pytest.mark.slow
@needs_data
def test_the_study_runs_on_a_few_rows_and_goes_on_where_it_stopped(tmp_path):
    words = ["--seeds", "0", "--rows", "12", "--short", "0.02", "--runs", "runs", "--out", "out"]
    command = [sys.executable, str(STUDY / "run.py"), *words]
    options = {"cwd": tmp_path, "capture_output": True, "text": True, "check": False}
    done = subprocess.run(command, **options)
    assert done.returncode == 0, done.stderr
    assert "emoji trained" in done.stdout
    assert done.stdout.strip().splitlines()[-1] == "Table: out/table.md"

    scores = pd.read_csv(tmp_path / "out/scores.csv")
    assert len(scores) == 24
    assert scores.drop(columns=["setting", "way", "seed", "seconds"]).stack().between(0, 1).all()
    # The text of chance and of the ceiling is nothing, and a specialist has one pair of senses.
    own = scores[scores["setting"] == "own"].set_index("way")
    assert own.loc["specialist: spoken", "digit image to sound"] == pytest.approx(
        own.loc["chance", "digit image to sound"]
    )

    file = tmp_path / "runs/seed_0/scores.csv"
    pd.read_csv(file).iloc[:-1].to_csv(file, index=False)
    again = subprocess.run(command, **options)
    assert "trained in" not in again.stdout
    assert pd.read_csv(tmp_path / "out/scores.csv")["way"].tolist() == scores["way"].tolist()
