"""mmfuse merge as a person uses it: by weights, by validation score, and with mistakes."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

import mmfuse
from mmfuse.cli import main
from mmfuse.merging import interpolate, uniform

CONFIG = {
    "trainer": {"max_epochs": 1, "default_root_dir": "runs", "enable_progress_bar": False},
    "model": {"fusion": "GatedFusion", "objectives": [{"class_path": "UnimodalLoss"}]},
    "data": {
        "class_path": "CatalogueData",
        "init_args": {"name": "breast_cancer_blocks", "split_seed": 0},
    },
}
START, FIRST, SECOND = (f"runs/version_{i}/checkpoints/best.ckpt" for i in range(3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A start and two runs from it, with other orders of rows and one split."""
    folder = tmp_path_factory.mktemp("merge")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("config.yaml").write_text(yaml.safe_dump(CONFIG))
        assert main(["fit", "--config", "config.yaml"]) == 0
        for seed in "12":
            words = ["fit", "--config", "config.yaml", "--start_from", START, "--data.seed", seed]
            assert main(words) == 0
    return folder


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)


def told(capsys):
    return capsys.readouterr().out.strip().splitlines()


def same(path, model):
    ours, theirs = mmfuse.load(path).state_dict(), model.state_dict()
    return all(torch.equal(ours[k], theirs[k]) for k in theirs)


def test_without_data_the_weights_are_taken(here, capsys):
    assert main(["merge", FIRST, SECOND, START, "--weights", "0.5", "0.3", "0.2"]) == 0
    assert told(capsys) == ["Merged: merged.ckpt"]
    assert same("merged.ckpt", uniform([FIRST, SECOND, START], [0.5, 0.3, 0.2]))
    assert main(["merge", FIRST, SECOND, "--method", "interpolate", "--lambdas", "0.25"]) == 0
    assert same("merged.ckpt", interpolate(FIRST, SECOND, 0.25))


@pytest.mark.parametrize("method", ["interpolate", "slerp"])
def test_validation_rows_choose_the_point_of_a_path(here, capsys, method):
    words = ["merge", FIRST, SECOND, "--method", method, "--config", "config.yaml"]
    assert main([*words, "--out", "path.ckpt", "--lambdas", "0", "0.5", "1"]) == 0
    lines = told(capsys)
    assert lines[0] == "auroc on the validation rows"
    assert lines[-2:] == ["Curve: path.csv, path.png", "Merged: path.ckpt"]
    table = pd.read_csv("path.csv")
    assert table.columns.tolist() == ["share", "score", "is_chosen", "metric"]
    assert table.loc[table["is_chosen"], "score"].item() == table["score"].max()
    assert Path("path.png").read_bytes().startswith(b"\x89PNG")


def test_the_merged_checkpoint_serves_every_command(here, capsys):
    words = ["merge", FIRST, SECOND, "--method", "greedy", "--config", "config.yaml"]
    assert main([*words, "--metric", "brier", "--out", "soups/soup.ckpt"]) == 0
    assert "Merged: soups/soup.ckpt" in told(capsys)
    table = pd.read_csv("soups/soup.csv")
    assert table["score"].iloc[0] == table["alone"].min()  # a Brier score is better when low
    use = ["--config", "config.yaml", "--ckpt_path", "soups/soup.ckpt"]
    assert main(["test", *use]) == 0
    assert main(["predict", *use]) == 0
    assert main(["robustness", *use, "--bootstrap", "0", "--out", "report"]) == 0
    assert json.loads(Path("report/meta.json").read_text())["trained_with"]["missing"] == "none"
    assert main(["fit", "--config", "config.yaml", "--start_from", "soups/soup.ckpt"]) == 0


def test_a_uniform_merge_is_scored_beside_its_models(here, capsys):
    words = ["merge", FIRST, SECOND, "--config", "config.yaml", "--skip", "heads.*"]
    assert main([*words, "--metric", "accuracy", "--out", "mean.ckpt"]) == 0
    table = pd.read_csv("mean.csv")
    assert table["model"].tolist() == [FIRST, SECOND, "merged"]
    assert table["weight"].tolist() == [0.5, 0.5, 1.0]
    assert torch.equal(
        mmfuse.load("mean.ckpt").heads["diagnosis"].weight,
        mmfuse.load(FIRST).heads["diagnosis"].weight,
    )
    record = mmfuse.checkpoint.read("mean.ckpt")["mmfuse"]["merged"]
    assert record["skip"] == ["heads.*"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "Give two or more checkpoints"),
        ([FIRST], "1 model(s) to merge"),
        ([FIRST, "nowhere.ckpt"], "no checkpoint at nowhere.ckpt"),
        ([FIRST, "broken.ckpt"], "broken.ckpt cannot be read"),
        ([FIRST, SECOND, "--method", "mean"], "invalid choice: 'mean'"),
        ([FIRST, SECOND, "--weights", "1", "1"], "sum to 2"),
        ([FIRST, SECOND, "--weights", "1", "1", "--method", "greedy"], "weights belong to uniform"),
        ([FIRST, SECOND, "--lambdas", "0.5"], "lambdas belong to interpolate and slerp"),
        ([FIRST, SECOND, "--method", "greedy"], "needs data to choose by"),
        ([FIRST, SECOND, "--method", "slerp"], "needs one lambda"),
        ([FIRST, SECOND, START, "--method", "slerp", "--lambdas", "0.5"], "found 3 checkpoint"),
        ([FIRST, SECOND, "--skip", "hed.*"], "No tensor's name matches 'hed.*'"),
        ([FIRST, SECOND, "--metric", "auroc"], "need data to score"),
        ([FIRST, SECOND, "--out", FIRST], "is one of the models to merge"),
        ([FIRST, SECOND, "--out", "broken.ckpt/x.ckpt"], "Cannot write"),
        ([FIRST, SECOND, "--config", "nowhere.yaml"], "nowhere.yaml"),
        ([FIRST, SECOND, "--config", "empty.yaml"], "no section data"),
        ([FIRST, SECOND, "--config", "config.yaml", "--metric", "aurok"], "Did you mean 'auroc'"),
        (
            [FIRST, SECOND, "--config", "config.yaml", "--data.nme", "x"],
            "has no option 'nme'. Did you mean 'name'?",
        ),
        ([FIRST, SECOND, "--config", "config.yaml", "--device", "gpu"], "device 'gpu'"),
        (
            [FIRST, SECOND, "--config", "config.yaml", "--data.split_seed", "5"],
            f"validation rows trained {FIRST}",
        ),
    ],
)
def test_a_mistake_is_one_sentence(here, capsys, words, sentence):
    Path("broken.ckpt").write_bytes(b"no checkpoint")
    Path("empty.yaml").write_text("model: {}\n")
    assert main(["merge", *words]) == 2
    found = capsys.readouterr().err.splitlines()[-1]
    assert sentence in found
    assert not list(Path().glob("**/*.part"))


def test_two_fusions_do_not_merge(here, capsys):
    words = ["fit", "--config", "config.yaml", "--model.fusion=MeanFusion"]
    assert main([*words, "--trainer.default_root_dir=other"]) == 0
    assert main(["merge", FIRST, "other/version_0/checkpoints/best.ckpt"]) == 2
    found = capsys.readouterr().err
    assert "GatedFusion" in found
    assert "MeanFusion" in found
