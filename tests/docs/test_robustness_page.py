"""The page on robustness studies: its commands and code run as printed, and its table is whole."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from mmfuse.cli import main
from mmfuse.lazy import import_names
from mmfuse.registry import known
from mmfuse.suites import Suite

PAGE = (Path(__file__).parents[2] / "docs" / "robustness.md").read_text()
pytestmark = pytest.mark.slow  # it runs whole studies
BLOCKS = re.findall(r"^```(python|yaml|bash)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """The names that are there after the page was followed to its end."""
    found: dict[str, object] = {}
    folder = tmp_path_factory.mktemp("robustness")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for language, code in BLOCKS:
            if language == "yaml":
                Path(code.split("\n", 1)[0].removeprefix("# ")).write_text(code)
            elif language == "bash":
                for line in code.splitlines():
                    words = shlex.split(line)
                    quiet = ["--trainer.enable_progress_bar=false"] * (words[1] != "report")
                    quick = ["--bootstrap", "20"] if words[1] == "robustness" else []
                    assert main([*words[1:], *quiet, *quick]) == 0, line
            else:
                exec(compile(code, "robustness.md", "exec"), found)
        found["page"] = Path("both/report.html").read_text(encoding="utf-8")
        found["one"] = Path("full/report.html").read_text(encoding="utf-8")
    return found


def test_unknown_digits_are_told_from_known_ones(names):
    table = names["found"].ood.table
    best = table[table["metric"] == "auroc"]["value"].max()
    assert best > 0.7


def test_the_page_of_one_model_marks_the_rate_of_training(names):
    assert "Dots mark the rate in training" in names["one"]


def test_the_page_of_two_models_tells_how_they_were_trained(names):
    assert "Trained with, tested under" in names["page"]
    assert "modality_dropout: ModalityDropout(rate=0.2" in names["page"]
    assert "modality_dropout: none" in names["page"]


def test_the_table_names_every_suite():
    import_names("mmfuse.suites")
    told = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    ours = {name for name, c in known(Suite).items() if c.__module__.startswith("mmfuse.")}
    assert told == ours


def test_a_misspelt_suite_names_the_nearest(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pd.DataFrame({"a": range(9), "y": [0, 1, 0] * 3}).to_csv("t.csv", index=False)
    text = "data: {class_path: TableData, init_args: {path: t.csv, modalities: {a: a}, targets: y}}"
    Path("c.yaml").write_text(text)
    assert main(["robustness", "--config", "c.yaml", "--suites+=Atacks"]) == 2
    assert "Did you mean 'Attacks'?" in capsys.readouterr().err
