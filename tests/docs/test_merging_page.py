"""The page on merging: its code and its commands run as printed, and its tables are whole."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import mmfuse
from mmfuse.cli import main
from mmfuse.merging.run import METHODS

PAGE = (Path(__file__).parents[2] / "docs" / "merging.md").read_text()
BLOCKS = re.findall(r"^```(python|yaml|bash)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """The folder and the names that are there after the page was followed to its end."""
    names: dict[str, object] = {}
    folder = tmp_path_factory.mktemp("merging")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for language, code in BLOCKS:
            if language == "python":
                exec(compile(code, "merging.md", "exec"), names)
            elif language == "yaml":
                Path(re.match(r"# (\S+)\n", code)[1]).write_text(code)
            else:
                for words in map(shlex.split, code.splitlines()):
                    assert main(words[1:]) == 0, words
    return folder, names


def test_every_block_runs_and_leaves_what_the_page_names(walked):
    folder, names = walked
    for name in ("average.ckpt", "path.ckpt", "soup.ckpt", "soup.csv", "soup.png"):
        assert (folder / name).is_file()
    assert mmfuse.load(folder / "python_soup.ckpt").spec == names["soup"].model.spec
    for recipe in ("stew", "fused"):
        assert list(names[recipe].spec.targets) == ["digit"]


def test_the_table_has_every_method():
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == list(METHODS)
