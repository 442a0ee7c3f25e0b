"""The page on binding: its code and its command run as printed, and what it says is so."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch
import yaml

from mmfuse import Batch
from mmfuse.binding import BindingMethod
from mmfuse.cli import main
from mmfuse.registry import known
from mmfuse.retrieval import retrieval_scores

PAGE = (Path(__file__).parents[2] / "docs" / "binding.md").read_text()
BLOCKS = re.findall(r"^```(python|yaml|bash)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """What is defined after the page was followed to its end."""
    found: dict[str, object] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("page"))
        for language, code in BLOCKS:
            if language == "python":
                exec(compile(code, "binding.md", "exec"), found)
            elif language == "yaml":
                Path(re.match(r"# (\S+)\n", code)[1]).write_text(code)
            else:
                assert main(shlex.split(code)[1:]) == 0
    return found


def test_sounds_find_images_that_nothing_paired_with_them(names):
    assert names["found"].recall[1] > 5 * names["found"].chance[1]
    images, sounds = (
        names["free"].embed(m, names["embed"](names["meaning"], [space]))
        for m, space in (("image", "seeing"), ("audio", "hearing"))
    )
    found = retrieval_scores(sounds, images)
    assert found.recall[1] > 5 * found.chance[1]


def test_texts_are_embedded_from_what_there_is(names):
    assert names["both"].shape == (100, 24)
    torch.testing.assert_close(names["mixed"][:50], names["one"][:50])
    torch.testing.assert_close(names["mixed"][50:], names["both"][50:])


def test_the_model_has_the_vectors_of_the_space(names):
    vectors = {s: torch.as_tensor(x).float() for s, x in names["texts"].items()}
    batch = Batch(tuple(vectors), vectors, torch.ones(100, 2, dtype=torch.bool))
    torch.testing.assert_close(names["model"](batch).fused.vector, names["both"])


def test_the_methods_are_those_of_the_page():
    section = PAGE.partition("## Methods")[2].partition("\n\nPseudo pairs")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [
        m
        for m in ("Specialist", "MeanOfSpaces", "CMCR", "FreeBind", "OmniBind")
        if m in known(BindingMethod)
    ]


def test_the_validation_pairs_of_the_page_name_its_pools():
    (told,) = re.findall(r"`validation: (\[.*?\]\])`", PAGE)
    (config,) = [yaml.safe_load(code) for language, code in BLOCKS if language == "yaml"]
    assert set(yaml.safe_load(told)[0]) <= set(config["pools"])
