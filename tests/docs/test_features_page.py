"""The page on features: its code runs as printed, and its options exist."""

import re
from pathlib import Path

from mmfuse.features import search_cli

PAGE = (Path(__file__).parents[2] / "docs" / "features.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_python_runs_as_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    space: dict[str, object] = {}
    for code in blocks("python"):
        exec(code, space)
    assert not {0, 3} & set(space["found"].rows[0].tolist())  # itself, and the absent one
    assert capsys.readouterr().out.count("tensor") == 3


def test_the_searches_are_understood():
    lines = [line for code in blocks("bash") for line in code.splitlines() if " search " in line]
    assert len(lines) == 4
    for line in lines:
        words = [a or b for a, b in re.findall(r'"([^"]*)"|(\S+)', line)][2:]
        assert search_cli._parser().parse_args(words).features == "features/"
