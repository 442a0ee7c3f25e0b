"""The demo as a fresh machine runs it: on the digits that scikit-learn ships."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

SCRIPT = Path(__file__).parents[2] / "experiments/demo/run.py"
MODELS = ("sequential", "concatenation")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A process of its own, in an empty folder, with one epoch and few resamples."""
    folder = tmp_path_factory.mktemp("demo")
    words = ["--out", "report", "--epochs", "1", "--bootstrap", "20"]
    command = [sys.executable, str(SCRIPT), *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "report", done


def test_the_demo_says_at_the_end_where_its_report_is(demo):
    folder, done = demo
    assert done.stdout.strip().splitlines()[-1] == f"Report: {(folder / 'report.html').resolve()}"
    assert (folder / "report.html").stat().st_size > 10_000


def test_the_demo_prints_no_warning(demo):
    assert demo[1].stderr == ""
    assert "warn" not in demo[1].stdout.lower()


def test_the_demo_shows_its_progress(demo):
    told = demo[1].stdout
    for model in MODELS:
        assert f"training {model}" in told
        assert f"conditions of {model}" in told
    assert "baselines on single quadrants" in told


def test_the_report_is_one_page_that_fetches_nothing(demo):
    page = (demo[0] / "report.html").read_text()
    assert "<script src=" not in page
    assert '<link rel="stylesheet"' not in page
    for model in MODELS:
        assert model in page


@pytest.mark.parametrize("model", MODELS)
def test_each_model_leaves_its_numbers_under_every_condition(demo, model):
    table = pd.read_parquet(demo[0] / model / "conditions.parquet")
    assert set(table["metric"]) >= {"accuracy", "auroc"}
    subsets = table[(table["family"] == "subset") & (table["metric"] == "accuracy")]
    assert len(subsets) == 2**4 - 1
    assert {"complete", "mcar", "mar", "mnar"} <= {f.split("_")[0] for f in table["family"]}


def test_the_training_rows_of_high_digits_lose_most_quadrants(demo):
    rows = pd.read_parquet(demo[0] / "sequential/version_0/rows.parquet")
    shown = rows.filter(like="shown_").loc[rows["split"] == "train"].to_numpy().mean()
    assert 0.5 < shown < 0.7
    assert rows.filter(like="shown_").loc[rows["split"] == "test"].to_numpy().all()
