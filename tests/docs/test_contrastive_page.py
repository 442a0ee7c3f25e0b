"""The page on contrastive objectives: its configurations train, its code and commands run."""

from __future__ import annotations

import inspect
import re
import shlex
from pathlib import Path

import pytest
import yaml

import mmfuse.objectives
from mmfuse.cli import main
from mmfuse.objectives import CLIPLoss, Objective
from mmfuse.registry import known

PAGE = (Path(__file__).parents[2] / "docs" / "contrastive.md").read_text()
BLOCKS = re.findall(r"^```(python|yaml|bash)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
WHOLE, *PARTS = [yaml.safe_load(code) for language, code in BLOCKS if language == "yaml"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(config):
    config["trainer"] |= {"max_epochs": 2, "enable_progress_bar": False}
    Path("config.yaml").write_text(yaml.safe_dump(config))


@pytest.mark.slow
def test_the_configuration_trains_and_is_measured(folder):
    write(yaml.safe_load(yaml.safe_dump(WHOLE)))
    for language, code in BLOCKS:
        if language == "bash":
            for line in code.splitlines():
                assert main(shlex.split(line)[1:]) == 0
    assert (folder / "retrieval" / "retrieval.csv").is_file()


@pytest.mark.parametrize("part", PARTS, ids=lambda p: p["objectives"][0]["class_path"])
def test_each_list_of_objectives_trains(folder, part, capsys):
    config = yaml.safe_load(yaml.safe_dump(WHOLE))
    config["model"]["init_args"]["objectives"] = part["objectives"]
    write(config)
    assert main(["fit", "--config", "config.yaml"]) == 0
    (metrics,) = folder.rglob("metrics.csv")
    head = metrics.read_text().split("\n", 1)[0]
    for each in part["objectives"]:
        assert f"train/{each['class_path']}/" in head


def test_the_code_runs():
    names = {}
    for language, code in BLOCKS:
        if language == "python":
            exec(compile(code, "contrastive.md", "exec"), names)
    assert all(names[n].isfinite() for n in ("hard", "soft", "by_class"))


def test_the_table_names_every_contrastive_objective():
    named = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE))))
    family = {
        n
        for n, c in known(Objective).items()
        if c.__module__.startswith("mmfuse.")
        and "mmfuse.objectives.contrastive" in Path(inspect.getfile(c)).read_text()
    }
    assert named == family
    assert named <= set(mmfuse.objectives.__all__)


def test_a_phase_from_yaml_is_kept(folder):
    objective = CLIPLoss(**PARTS[1]["objectives"][0]["init_args"])
    assert [objective.factor(p) for p in (0.0, 0.5)] == [1.0, 0.0]
