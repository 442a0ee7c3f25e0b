"""The page on features: its code and its commands run as printed, and its options exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
import torch
import yaml
from torchvision.models import MobileNet_V3_Small_Weights, mobilenet_v3_small

from mmfuse import features
from mmfuse.cli import main
from mmfuse.data import FeatureData
from mmfuse.features import search_cli
from mmfuse.features.pretrained import _LIBRARIES
from mmfuse.store import FeatureFolder

PAGE = (Path(__file__).parents[2] / "docs" / "features.md").read_text()
BLOCKS = re.findall(r"^```(python|yaml|bash)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
COMMANDS = [
    shlex.split(line)
    for language, code in BLOCKS
    if language == "bash"
    for line in code.splitlines()
]


def is_shared(words: list[str]) -> bool:
    """Whether a command starts several processes."""
    return words[0] == "torchrun" or "--trainer.devices" in words or "--engine" in words


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """The folder and the names that are there after the page was followed to its end.

    The weights that the page names lie where torchvision keeps them, drawn at random.
    """
    folder = tmp_path_factory.mktemp("page")
    name = MobileNet_V3_Small_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
    weights = folder / "torch" / "hub" / "checkpoints" / name
    weights.parent.mkdir(parents=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(mobilenet_v3_small().state_dict(), weights)
    names: dict[str, object] = {}
    (folder / "work").mkdir()
    datasets.disable_progress_bars()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(folder / "torch"))
        patch.chdir(folder / "work")
        for language, code in BLOCKS:
            follow(language, code, names)
    datasets.enable_progress_bars()
    return folder / "work", names


def follow(language: str, code: str, names: dict[str, object]) -> None:
    """Does what a reader of the page would do with a block."""
    if language == "python":
        exec(compile(code, "features.md", "exec"), names)
    elif language == "yaml":
        if name := re.match(r"# (\S+)\n", code):
            Path(name[1]).write_text(code)
    else:
        for words in map(shlex.split, code.splitlines()):
            if words[:2] != ["mmfuse", "search"] and not is_shared(words):
                assert main(words[1:]) == 0


def test_what_the_page_says_of_the_pictures_is_so(walked):
    _, names = walked
    manifest = names["manifest"]
    assert (manifest["rows_written"], manifest["columns"]["image"]["width"]) == (40, 1024)
    assert [p["row"] for p in manifest["problems"]] == [7]
    assert (names["small"]["skipped"], names["small"]["rows_written"]) == ([7], 39)
    assert "IMAGENET1K_V1" in str(manifest["model"])


def test_every_reader_sees_the_same(walked, monkeypatch):
    folder, names = walked
    monkeypatch.chdir(folder)
    table, lazy, whole = names["table"], names["lazy"].collect(), names["whole"]
    assert names["vectors"].shape == (40, len(table["fused"][0]))
    absent = [None if v is None else list(v) for v in table["photo"]]
    assert absent == lazy["photo"].to_list() == whole["photo"][:]
    assert [i for i, v in enumerate(absent) if v is None] == [3, 7]


def test_the_columns_are_those_of_the_page(walked):
    folder, _ = walked
    section = PAGE.partition("## What is extracted")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)
    assert listed == ["<modality>", "<modality>.tokens", "fused", "steps", "logits"]
    found = features.load(folder / "all").column_names
    expected = ["photo", "note.tokens", "steps", "logits.target.warm", "target.warm"]
    assert found == ["row", "split", *expected]


def test_the_folder_looks_as_drawn(walked):
    folder, _ = walked
    drawn = re.search(r"```\ntrained/\n(.*?)```", PAGE, re.DOTALL)[1]
    for line in drawn.splitlines():
        assert (folder / "trained" / line.split()[0]).is_file()
    keys = re.search(r"`manifest\.json` holds\n\n.*?\n\n", PAGE, re.DOTALL)[0]
    named = re.findall(r"`(\w+)`", "".join(re.findall(r"^\|([^|]+)\|", keys, re.MULTILINE)))
    assert len(named) > 15
    assert set(named) < set(FeatureFolder(folder / "trained").manifest())


def test_training_on_the_features_read_no_picture(walked):
    _, names = walked
    assert names["data"].spec.modalities["photo"].kind == "vector"


def test_the_yaml_reads_the_features(walked, monkeypatch):
    folder, names = walked
    monkeypatch.chdir(folder)
    (code,) = [c for language, c in BLOCKS if language == "yaml" and "FeatureData" in c]
    data = yaml.safe_load(code)["data"]
    assert FeatureData(**data["init_args"]).spec == names["on_features"].spec


def test_the_pretrained_libraries_are_those_there_are():
    rows = re.findall(r"^\| `(\w+)` \| (`\w+:[^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE)
    assert [library for library, *_ in rows] == list(_LIBRARIES)
    for library, examples, kinds in rows:
        assert all(e.startswith(f"{library}:") for e in re.findall(r"`([^`]+)`", examples))
        assert re.findall(r"`(\w+)`", kinds) == list(_LIBRARIES[library][0])


def test_rows_are_near_to_others(walked):
    _, names = walked
    assert not {0, 3} & set(names["found"].rows[0].tolist())  # itself, and the absent one


def test_the_searches_are_understood():
    searches = [words[2:] for words in COMMANDS if words[:2] == ["mmfuse", "search"]]
    assert len(searches) == 4
    for words in searches:
        assert search_cli._parser().parse_args(words).features == "features/"


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", list(filter(is_shared, COMMANDS)), ids=["torchrun", "devices", "ray"]
)
def test_many_processes_write_the_files_of_one(walked, words):
    folder, _ = walked
    launch = "torch.distributed.run" if words[0] == "torchrun" else "mmfuse.cli"
    out = words[words.index("--out") + 1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    # The best of the run that the page had come to, which later runs have followed.
    best = "runs/version_0/checkpoints/best.ckpt"
    command = [sys.executable, "-m", launch, *(best if w == "best" else w for w in words[1:])]
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert features.load(folder / out)["fused"][:] == features.load(folder / "trained")["fused"][:]
