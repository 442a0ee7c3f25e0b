from __future__ import annotations

import io

import pandas as pd
import pytest
from rich.console import Console

from mmfuse.robustness import RobustnessResult
from mmfuse.robustness.report import BASELINE_COLUMNS, print_report


def printed(results: object, baselines: pd.DataFrame | None = None) -> str:
    console = Console(file=io.StringIO(), width=80)
    print_report(results, baselines, console)
    return console.file.getvalue()


def test_the_terminal_shows_the_scores_and_what_each_modality_is_worth(
    sequential: RobustnessResult,
):
    text = printed(sequential)
    lines = sequential.main("kind").set_index("family")
    for family in ("complete", "mnar", "mnar_flipped"):
        assert f"{lines.loc[family, 'value']:.3f} [{lines.loc[family, 'low']:.3f}, " in text
    part = sequential.importance.query("target == 'size' and modality == 'left'").iloc[0]
    assert f"{part['alone']:.3f}" in text
    assert text.count("area under MCAR") == 3


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_terminal_report_fits_80_columns(sequential: RobustnessResult, count: int):
    results = {f"a model whose name is rather long, number {i}": sequential for i in range(count)}
    text = printed(results)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert "…" not in text


def test_names_in_brackets_are_printed_as_they_are(sequential: RobustnessResult):
    assert "[red]" in printed({"[red]": sequential})


def test_baselines_are_printed_beside_the_model(sequential: RobustnessResult):
    line = ("logistic regression", "left", "kind", "accuracy", 0.41, 0.31, 0.51)
    text = printed(sequential, pd.DataFrame([line], columns=list(BASELINE_COLUMNS)))
    assert "left only" in text.split("tells alone")[1]
    assert "0.410 [0.310, 0.510]" in text
