"""The README's code runs as printed, and its files are there."""

import re
import textwrap
from pathlib import Path

import pytest
import yaml

from mmfuse.data import HFData
from mmfuse.encoder import Encoder
from mmfuse.fusion.base import Fusion
from mmfuse.registry import known

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_python_runs_as_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    space: dict[str, object] = {}
    for code in blocks("python"):
        exec(textwrap.dedent(code), space)
    assert "only image" in capsys.readouterr().out
    assert (tmp_path / "runs/version_0/robustness/report.html").exists()


def test_the_first_example_has_fifteen_lines():
    lines = [line for line in blocks("python")[0].splitlines() if line.strip()]
    assert len(lines) == 15


def test_the_configuration_names_what_exists():
    (content,) = blocks("yaml")
    config = yaml.safe_load(content)
    for encoder in config["model"]["encoders"].values():
        assert (encoder if isinstance(encoder, str) else encoder["class_path"]) in known(Encoder)
    assert config["model"]["fusion"] in known(Fusion)
    HFData(**config["data"]["init_args"])


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(((?!http)[^)]+)\)", README))))
def test_linked_files_exist(link):
    assert (ROOT / link).exists()


def test_commands_name_shipped_configurations():
    for path in re.findall(r"--config (\S+)", README):
        assert (ROOT / path).exists()
