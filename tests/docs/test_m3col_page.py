"""Every block of docs/m3col_ithp.md runs."""

import re
import shlex
from pathlib import Path

import pytest

from mmfuse.cli import main
from mmfuse.objectives import M3CoLoss
from mmfuse.registry import known

PAGE = (Path(__file__).parents[2] / "docs" / "m3col_ithp.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_the_configuration_trains_through_both_phases(tmp_path):
    (config,), (command,) = blocks("yaml"), blocks("bash")
    name = re.match(r"# (\S+)", config)[1]
    Path(name).write_text(config)
    assert main(shlex.split(command)[1:]) == 0
    (metrics,) = tmp_path.rglob("metrics.csv")
    columns = metrics.read_text().splitlines()[0]
    assert "train/M3CoLoss/upper_left_upper_right" in columns
    assert "train/MultiSClipLoss/upper_left_upper_right" in columns


def test_the_python_runs():
    (code,) = blocks("python")
    exec(compile(code, "docs/m3col_ithp.md", "exec"), {})


def test_the_classes_and_options_that_are_named_exist():
    from mmfuse.encoder import Encoder
    from mmfuse.fusion import Fusion
    from mmfuse.objectives import Objective

    classes = {*known(Fusion), *known(Encoder), *known(Objective)}
    named = set(re.findall(r"`(\w+(?:Loss|Fusion|Encoder))`", PAGE))
    assert named <= classes
    made = M3CoLoss(schedule=[0, 0.33], pairs="ring", mix="input", reference=True)
    assert made.factor(0.2) > made.factor(0.5) == 0
