"""The report on retrieval: its lines, and a plot with either or both of its panels."""

from __future__ import annotations

import pytest
import torch

from mmfuse.errors import DataError
from mmfuse.retrieval import every_direction
from mmfuse.retrieval.plot import plot
from mmfuse.retrieval.report import curve_ks, frame, show


def vectors(rows: int = 30) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return {m: torch.randn(rows, 4, generator=draw) for m in ("a", "b", "c")}


def everyone(rows: int = 30) -> dict[str, torch.Tensor]:
    return {m: torch.ones(rows, dtype=torch.bool) for m in ("a", "b", "c")}


@pytest.mark.parametrize(("pairs", "labels", "panels"), [(1, 1, 2), (1, 0, 1), (0, 1, 1)])
def test_the_plot_has_a_panel_for_what_there_is(pairs, labels, panels):
    present = everyone()
    if not pairs:
        present = {m: torch.arange(30) % 3 == i for i, m in enumerate(present)}
    found = every_direction(
        vectors(), present, torch.arange(30) // 3 % 3 if labels else None, curve_ks([1, 3], 30)
    )
    table = frame(found, {})
    figure = plot(table, "title")
    assert len(figure.axes) == panels
    assert len(table) == 6


def test_modalities_without_a_common_row_are_left_out():
    present = everyone()
    present["c"] = torch.zeros(30, dtype=torch.bool)
    assert [d.name for d in every_direction(vectors(), present)] == ["a_to_b", "b_to_a"]


def test_classes_are_searched_among_all_rows_that_have_the_modality():
    present = everyone()
    present["a"][:10] = False
    direction = every_direction(vectors(), present, torch.arange(30) % 3)[0]
    assert (direction.pairs.queries, direction.pairs.items) == (20, 20)
    assert (direction.labels.queries, direction.labels.items) == (20, 30)


def test_nothing_to_tell_is_told():
    with pytest.raises(DataError, match="nothing to retrieve"):
        frame([], {})


def test_the_table_says_what_a_random_order_would_have(capsys):
    found = every_direction(vectors(), everyone(), None, (1, 5))
    show(frame(found, {"a": 0.5}), (1, 5))
    lines = capsys.readouterr().out.splitlines()
    assert any("random order" in line and "0.033" in line and "0.167" in line for line in lines)
    assert "Rows of 'a' whose class's name is nearest: 0.500" in lines
