"""The page on stages: its list runs, and its commands do what it says of them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

import mmfuse
from mmfuse.cli import main
from mmfuse.stages.listed import TAKES

PAGE = (Path(__file__).parents[2] / "docs" / "stages.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """The folder in which the page was followed to its end, with an epoch a stage."""
    folder = tmp_path_factory.mktemp("stages")
    (code,) = blocks("yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("stages.yaml").write_text(code)
        for line in "".join(blocks("bash")).splitlines():
            quick = ["--trainer.max_epochs=1", "--trainer.enable_progress_bar=false"]
            assert main([*shlex.split(line)[1:], *quick]) == 0, line
    return folder


def test_every_stage_ran_once(followed):
    found = {p.parent.name: p.name for p in (followed / "runs").glob("*/*") if _ran(p)}
    assert found == dict.fromkeys(("complete", "refit", "student"), "version_0")


def _ran(run):
    return (run / "stage.json").is_file()


def test_the_encoders_of_the_second_stage_are_those_of_the_first(followed):
    first, second = (
        mmfuse.load(followed / f"runs/{s}/version_0/checkpoints/best.ckpt").encoders.state_dict()
        for s in ("complete", "refit")
    )
    assert all((value == second[name]).all() for name, value in first.items())


def test_a_stages_own_configuration_is_of_that_stage_alone(followed, monkeypatch, capsys):
    monkeypatch.chdir(followed)
    config = "runs/refit/version_0/config.yaml"
    assert main(["test", "--config", config, "--ckpt_path", "best"]) == 0
    assert "test/accuracy" in capsys.readouterr().out
    assert "stages" not in yaml.safe_load(Path(config).read_text())


def test_it_names_every_key_of_a_stage():
    told = next(line for line in PAGE.splitlines() if line.startswith("- Keys are"))
    assert re.findall(r"`(\w+)`", told)[: len(TAKES)] == list(TAKES)
