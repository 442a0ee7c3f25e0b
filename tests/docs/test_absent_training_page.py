"""Every block of docs/absent_training.md runs, and what it names is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import mmfuse.fusion.imputers
from mmfuse.cli import main
from mmfuse.fusion import Fusion
from mmfuse.objectives import Objective
from mmfuse.registry import known

PAGE = (Path(__file__).parents[2] / "docs" / "absent_training.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def chapters():
    """The configurations and commands of each chapter that trains, one after the other."""
    found = []
    for commands in re.finditer(
        r"((?:^```yaml\n.*?^```\n+)+)^```bash\n(.*?)^```$", PAGE, re.S | re.M
    ):
        configs = re.findall(r"^```yaml\n(.*?)^```$", commands[1], re.DOTALL | re.MULTILINE)
        found.append(pytest.param(configs, commands[2], id=commands[2].split()[3]))
    return found


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("configs", "commands"), chapters())
def test_the_configurations_train_stage_by_stage(configs, commands):
    for config in configs:
        Path(re.match(r"# (\S+)", config)[1]).write_text(config)
    for command in commands.strip().splitlines():
        assert main(shlex.split(command)[1:]) == 0


def test_every_configuration_belongs_to_a_command():
    assert sum(len(case.values[0]) for case in chapters()) == len(blocks("yaml"))


def test_the_python_runs(capsys):
    (code,) = blocks("python")
    exec(compile(code, "docs/absent_training.md", "exec"), {})
    assert float(re.search(r"tensor\((\S+)\)", capsys.readouterr().out)[1]) < 0.3


def test_the_classes_that_are_named_exist():
    named = set(re.findall(r"`(\w+(?:Fusion|Loss|Distillation))`", PAGE))
    assert named <= {*known(Fusion), *known(Objective)}
    named = set(re.findall(r"`(\w+Imputer)`", PAGE))
    assert named == set(mmfuse.fusion.imputers.__all__) - {"FittedImputer", "Imputer"}
