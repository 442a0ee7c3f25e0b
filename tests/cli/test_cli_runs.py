"""The command as a person uses it: train, swap the fusion, evaluate, compare."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

import mmfuse
from mmfuse.cli import main

CONFIG = {
    "trainer": {"max_epochs": 2, "default_root_dir": "runs", "enable_progress_bar": False},
    "model": {"modality_dropout": 0.2},
    "data": {"class_path": "CatalogueData", "init_args": {"name": "breast_cancer_blocks"}},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cli")


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    Path("config.yaml").write_text(yaml.safe_dump(CONFIG))
    return folder


@pytest.fixture
def trained(here):
    if not Path("runs/version_0/checkpoints/best.ckpt").exists():
        assert main(["fit", "--config", "config.yaml"]) == 0
    return Path("runs/version_0")


def test_a_run_leaves_its_configuration_versions_rows_metrics_and_checkpoints(trained):
    found = {p.relative_to(trained).as_posix() for p in trained.rglob("*") if p.is_file()}
    wanted = {"config.yaml", "run.json", "data.json", "rows.parquet", "metrics.csv"}
    assert wanted | {"checkpoints/best.ckpt", "checkpoints/last.ckpt"} <= found
    record = json.loads((trained / "run.json").read_text())
    assert record["versions"]["mmfuse"] == mmfuse.__version__
    assert record["seed"] == 0
    rows = pd.read_parquet(trained / "rows.parquet")
    assert sorted(rows["split"].unique()) == ["test", "train", "val"]
    assert rows["row"].is_unique
    assert pd.read_csv(trained / "metrics.csv")["val/loss"].notna().sum() == 2


def test_the_fusion_is_swapped_on_the_command_line(here, trained):
    words = ["fit", "--config", "config.yaml", "--model.fusion=GatedFusion"]
    assert main([*words, "--trainer.default_root_dir=gated"]) == 0
    model = mmfuse.load("gated/version_0/checkpoints/best.ckpt")
    assert type(model.fusion).__name__ == "GatedFusion"
    assert type(mmfuse.load(trained / "checkpoints/best.ckpt").fusion).__name__ != "GatedFusion"


@pytest.mark.parametrize("stated", ["SequentialFusion", None])
def test_a_fusion_in_anothers_place_has_its_own_defaults(here, stated):
    # Of the two SequentialFusion is the narrower.
    model = {"fusion": stated} if stated else {}
    Path("other.yaml").write_text(yaml.safe_dump(CONFIG | {"model": model}))
    words = ["fit", "--config", "other.yaml", "--trainer.default_root_dir=own_defaults"]
    for option in (["--model.fusion=GatedFusion"], ["--model.fusion", "GatedFusion"]):
        assert main([*words, "--trainer.max_epochs=1", *option]) == 0
        newest = max(Path("own_defaults").glob("version_*"), key=lambda p: p.stat().st_mtime)
        assert mmfuse.load(newest / "checkpoints/best.ckpt").fusion.out_dim == 128


def test_the_runs_own_configuration_serves_test_and_predict(here, trained, capsys):
    for command in ("validate", "test", "predict"):
        words = [command, "--config", str(trained / "config.yaml"), "--ckpt_path", "best"]
        assert main([*words, "--trainer.default_root_dir=runs"]) == 0
    told = capsys.readouterr().out
    assert "test/accuracy" in told
    path = Path(told.strip().splitlines()[-1].removeprefix("Predictions: "))
    table, rows = pd.read_parquet(path), pd.read_parquet(trained / "rows.parquet")
    assert table["row"].tolist() == rows.loc[rows["split"] == "test", "row"].tolist()
    probabilities = table.drop(columns=["row", "diagnosis"])
    assert probabilities.sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-5)


def test_robustness_reports_on_a_checkpoint_and_says_where(here, trained, capsys):
    checkpoint = str(trained / "checkpoints/best.ckpt")
    words = ["robustness", "--config", "config.yaml", "--ckpt_path", checkpoint, "--out", "report"]
    assert main([*words, "--bootstrap", "20", "--trainer.enable_progress_bar", "true"]) == 0
    assert capsys.readouterr().out.strip().splitlines()[-1] == "Report: report/report.html"
    conditions = pd.read_parquet("report/conditions.parquet")
    assert (conditions["family"] == "subset").groupby(conditions["metric"]).sum().eq(7).all()
    assert conditions.loc[conditions["family"] == "mcar", "rate"].nunique() == 9
    baselines = pd.read_parquet("report/baselines.parquet")
    assert baselines["modalities"].nunique() == 4
    predictions = pd.read_parquet("report/predictions.parquet")
    rows = pd.read_parquet(trained / "rows.parquet")
    test_rows = set(rows.loc[rows["split"] == "test", "row"])
    assert set(predictions["row"]) == test_rows
    meta = json.loads(Path("report/meta.json").read_text())
    assert "ModalityDropout(rate=0.2" in meta["trained_with"]["modality_dropout"]


def test_a_comparison_skips_what_is_done_and_its_file_serves_fit_too(here, capsys):
    options = {
        "fusions": {"mean": "MeanFusion", "gated": "GatedFusion"},
        "seeds": [0, 1],
        "conditions": {"mcar": {"class_path": "MCAR", "init_args": {"rate": 0.5}}},
        "metrics": ["accuracy", "auroc"],
        "out": "comparison",
    }
    Path("compare.yaml").write_text(yaml.safe_dump(CONFIG | options))
    assert main(["compare", "--config", "compare.yaml"]) == 0
    cells = {p: p.stat().st_mtime_ns for p in Path("comparison/cells").iterdir()}
    assert len(cells) == 2 * 4
    table = pd.read_csv("comparison/table.csv")
    assert set(table["variant"]) == {
        "mean",
        "gated",
        "linear model",
        "gradient boosting",
    }
    assert set(table["condition"]) == {"complete", "mcar"}

    first = Path("comparison/table.md").read_text()
    next(iter(cells)).unlink()
    assert main(["compare", "--config", "compare.yaml"]) == 0
    changed = {p for p in Path("comparison/cells").iterdir() if p.stat().st_mtime_ns != cells[p]}
    assert changed == {next(iter(cells))}
    assert _without_times(Path("comparison/table.md").read_text()) == _without_times(first)

    words = ["fit", "--config", "compare.yaml", "--trainer.default_root_dir=shared"]
    assert main(words) == 0


def _without_times(table: str) -> list[str]:
    return [line.rpartition(" | ")[0] for line in table.splitlines()]
