"""A checkpoint of another model than the configuration's: what evaluates it says so, once."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from mmfuse import checkpoint
from mmfuse.cli import main
from mmfuse.tasks import SupervisedTask
from mmfuse.tasks.stated import otherwise_stated

MODEL = {
    "encoders": {"*": {"class_path": "MLPEncoder", "init_args": {"hidden": [8], "out_dim": 8}}},
    "fusion": {
        "class_path": "ImputedFusion",
        "init_args": {
            "fusion": "GatedFusion",
            "options": {"out_dim": 8},
            "imputer": {"class_path": "KNNImputer", "init_args": {"k": 3}},
        },
    },
}
CONFIG = {
    "trainer": {"max_epochs": 1, "default_root_dir": "runs", "enable_progress_bar": False},
    "data": {"class_path": "CatalogueData", "init_args": {"name": "breast_cancer_blocks"}},
}
ROBUSTNESS = ("robustness", "--ckpt_path=best", "--bootstrap=0", "--mcar_rates=[0.5]", "--config")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a run, its configuration and one that says nothing of a model."""
    found = tmp_path_factory.mktemp("other")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(found)
        Path("config.yaml").write_text(yaml.safe_dump(CONFIG | {"model": MODEL}))
        Path("data.yaml").write_text(yaml.safe_dump(CONFIG))
        assert main(["fit", "--config", "config.yaml"]) == 0
    return found


@pytest.fixture(autouse=True)
def _inside(folder, monkeypatch):
    monkeypatch.chdir(folder)


def told(capsys, *words: str) -> list[str]:
    capsys.readouterr()
    assert main(list(words)) == 0
    return [x for x in capsys.readouterr().out.splitlines() if "not the configuration's" in x]


@pytest.mark.parametrize("config", ["config.yaml", "data.yaml"])
def test_the_model_s_own_configuration_or_none_is_passed_over(capsys, config):
    assert not told(capsys, *ROBUSTNESS, config, "--out", "same")


def test_a_report_names_the_model_that_it_is_of(capsys):
    (line,) = told(capsys, *ROBUSTNESS, "config.yaml", "--model.fusion=MeanFusion", "--out", "r")
    assert "fusion: the checkpoint has ImputedFusion, the configuration MeanFusion" in line


def test_features_name_the_model_that_they_are_of(capsys):
    words = ("extract", "--config", "config.yaml", "--ckpt_path=best", "--split=val")
    assert not told(capsys, *words, "--out", "own")
    (line,) = told(capsys, *words, "--model.fusion=MeanFusion", "--out", "others")
    assert "MeanFusion" in line


def test_a_score_of_another_model_is_refused(capsys):
    words = ("test", "--config", "config.yaml", "--ckpt_path=best", "--model.fusion=MeanFusion")
    assert main(list(words)) == 2
    assert "fusion.class_path" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("encoders", "fusion", "expected"),
    [
        (None, None, []),
        (
            {"*": ("MLPEncoder", {"hidden": [8]})},
            ("ImputedFusion", {"imputer": "KNNImputer()"}),
            [],
        ),
        (None, ("ImputedFusion", {"imputer": "MeanImputer()"}), ["fusion, imputer"]),
        ({"*": ("MLPEncoder", {"hidden": [9]})}, None, ["encoder of 'mean', hidden"]),
        ({"mean": ("LinearEncoder", {})}, None, ["encoders: ", "encoder of 'mean': "]),
        ({"*": ("MLPEncoder", {"frozen": True, "dropout": 0.5})}, None, []),
    ],
)
def test_each_part_that_differs_is_named(folder, monkeypatch, encoders, fusion, expected):
    def stated(part):
        return {"class_path": f"somewhere.{part[0]}", "init_args": part[1]}

    task = SupervisedTask()
    settings = {
        "encoders": {m: stated(part) for m, part in (encoders or {}).items()},
        "fusion": stated(fusion) if fusion else "SequentialFusion",
    }
    monkeypatch.setattr(task, "settings", lambda: settings)
    content = checkpoint.read(next(folder.rglob("best.ckpt")))
    found = otherwise_stated(task, content)
    assert len(found) >= len(expected)
    assert bool(found) == bool(expected)
    for line, start in zip(found, expected, strict=False):
        assert line.startswith(start)
