"""The page on distillation: its configurations train in order, its code runs as printed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

import mmfuse.distillation
from mmfuse.cli import main
from mmfuse.distillation import Distillation, RoutedDistillation

PAGE = (Path(__file__).parents[2] / "docs" / "distillation.md").read_text()
BLOCKS = re.findall(r"^```(python|yaml|bash)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """The names that are there after the page was followed to its end."""
    found: dict[str, object] = {}
    folder = tmp_path_factory.mktemp("distillation")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for language, code in BLOCKS:
            if language == "yaml":
                config = yaml.safe_load(code)
                config["trainer"] |= {"max_epochs": 1, "enable_progress_bar": False}
                for stage in config["stages"]:
                    stage.pop("trainer", None)  # an epoch of each will do
                Path(code.split("\n", 1)[0].removeprefix("# ")).write_text(yaml.safe_dump(config))
            elif language == "bash":
                for line in code.splitlines():
                    assert main(shlex.split(line)[1:]) == 0, line
            else:
                exec(compile(code, "distillation.md", "exec"), found)
        found["metrics"] = {
            p.parts[-3]: p.read_text().split("\n", 1)[0]
            for p in Path().rglob("version_0/metrics.csv")
        }
    return found


def test_the_student_is_a_plain_model_of_one_modality(names):
    assert names["student"].modalities == ("error",)
    assert "train/SoftTargets/soft" in names["metrics"]["student"]
    assert "train/RelationalDistillation/angle" in names["metrics"]["student"]


def test_the_three_stages_run_from_yaml(names):
    assert names["team"].pool == [
        "teacher_mean", "teacher_fused", "auxiliary_mean", "auxiliary_fused",
    ]  # fmt: skip
    assert "train/WeightedRoutedDistillation/routed" in names["metrics"]["distil"]
    assert "val/student/accuracy" in names["metrics"]["cotrain"]


def test_the_table_names_every_term():
    told = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    exported = {getattr(mmfuse.distillation, n) for n in mmfuse.distillation.__all__}
    terms = {
        c.__name__ for c in exported if isinstance(c, type) and issubclass(c, Distillation)
    } - {Distillation.__name__, RoutedDistillation.__name__}
    assert told == terms


def test_a_mistyped_term_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = yaml.safe_load(next(c for lang, c in BLOCKS if "student.yaml" in c and lang == "yaml"))
    student = config["stages"][1]["model"]["init_args"]
    student["distillation"][0]["class_path"] = "SoftTarget"
    Path("config.yaml").write_text(yaml.safe_dump(config))
    assert main(["fit", "--config", "config.yaml"]) != 0
    assert "Did you mean 'SoftTargets'?" in capsys.readouterr().err
