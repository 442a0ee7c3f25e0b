"""Stages that are killed over and over end as if they never had been."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

SCRIPT = Path(__file__).with_name("killed_stages.py")
ENCODER = {"class_path": "MLPEncoder", "init_args": {"hidden": [8], "out_dim": 8, "dropout": 0.3}}
# Steps are large enough for the best epoch to be any, and noise is drawn wherever it can be.
SHARED = {
    "encoders": {"*": ENCODER},
    "fusion": "ConcatFusion",
    "modality_dropout": 0.3,
    "optimizer": {"class_path": "Adam", "init_args": {"lr": 0.1}},
}
STUDENT = {
    "teacher": "best:teacher",
    "encoders": {"error": ENCODER},
    "fusion": "ConcatFusion",
    "distillation": [{"class_path": "FeatureDistillation"}],
}
CONFIG = {
    "seed_everything": 1,
    "trainer": {"max_epochs": 3, "enable_progress_bar": False, "default_root_dir": "runs"},
    "data": {
        "class_path": "CatalogueData",
        "init_args": {"name": "breast_cancer_blocks", "batch_size": 128},
    },
    "model": SHARED,
    "stages": [
        {"name": "teacher"},
        {"name": "refit", "model": {"encoders": {"*": {"init_args": {"frozen": True}}}}},
        {"name": "student", "model": {"class_path": "DistillationTask", "init_args": STUDENT}},
    ],
}


def fit(folder: Path, *moments: str) -> list[int]:
    """The exit statuses of one command that is killed at each moment, and given again."""
    folder.mkdir()
    (folder / "stages.yaml").write_text(yaml.safe_dump(CONFIG))
    command = [sys.executable, str(SCRIPT), "fit", "--config=stages.yaml"]
    told = "\n".join([*moments, "never"])
    done = subprocess.run(
        command, input=told, cwd=folder, capture_output=True, text=True, check=True
    )
    found = done.stdout.splitlines()
    statuses = [int(line) for line in found if line.lstrip("-").isdecimal()]
    assert statuses[-1] == 0, done.stderr
    return statuses


def weights(folder: Path) -> list[dict[str, torch.Tensor]]:
    """Of each stage's last run: the best weights, which epoch's they are, and the last ones."""
    found = []
    for stage in CONFIG["stages"]:
        for which in ("best", "last"):
            runs = (folder / "runs" / stage["name"]).glob(f"*/checkpoints/{which}.ckpt")
            newest = max(runs, key=lambda p: int(p.parents[1].name.removeprefix("version_")))
            content = torch.load(newest, weights_only=True)
            found.append(content["state_dict"] | {"epoch": torch.tensor(content["epoch"])})
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed") / "whole"
    assert fit(folder) == [0]
    return weights(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    "moments",
    [
        [
            "4",
            "7",
            "2",
            "5",
        ],  # amid epochs of 3 or 4 steps, at first before any checkpoint
        ["record 1", "record 2", "record 1"],  # once a run is written down, and between stages
        ["9", "8", "record 2"],  # at the end of a stage, before it counts as finished
    ],
    ids=["amid", "between", "at the end"],
)
def test_killed_stages_end_as_if_they_never_had_been(tmp_path, whole, moments):
    assert fit(tmp_path / "killed", *moments) == [-signal.SIGKILL] * len(moments) + [0]
    for found, wanted in zip(weights(tmp_path / "killed"), whole, strict=True):
        assert found.keys() == wanted.keys()
        for name, value in wanted.items():
            assert torch.equal(found[name], value), name
