import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mmfuse.compare.cells import Cell, CellStore
from mmfuse.compare.table import interval, markdown, summarise, write_tables
from mmfuse.errors import DataError


def scores(value):
    return pd.DataFrame(
        [
            {"protocol": "p", "condition": c, "target": "y", "metric": m, "value": value + shift}
            for c, shift in (("complete", 0.0), ("flipped", -0.2))
            for m in ("accuracy", "auroc")
        ]
    )


FACTS = {"parameters": 1234, "seconds_per_epoch": 0.5}


@pytest.fixture
def lines(tmp_path):
    store = CellStore(tmp_path)
    cells = [Cell(v, s, {"data": "x"}) for v in ("sequential", "concat") for s in (0, 1, 2)]
    for cell in cells:
        bonus = 0.1 if cell.variant == "sequential" else 0.0
        store.write(cell, scores(0.7 + bonus + 0.01 * cell.seed), FACTS)
    return store.read(cells)


def test_the_interval_is_students():
    values = np.array([0.7, 0.72, 0.75, 0.71])
    mean, half = interval(values)
    low, high = stats.t.interval(0.95, 3, loc=values.mean(), scale=stats.sem(values))
    assert mean - half == pytest.approx(low)
    assert mean + half == pytest.approx(high)


def test_one_seed_has_no_interval():
    assert np.isnan(interval(np.array([0.7]))[1])


def test_the_summary_has_mean_and_seeds_of_every_cell(lines):
    summary = summarise(lines)
    row = summary[
        (summary.variant == "sequential")
        & (summary.condition == "flipped")
        & (summary.metric == "accuracy")
    ].iloc[0]
    assert row["mean"] == pytest.approx(0.61)
    assert row["seeds"] == 3
    assert row["parameters"] == 1234


def test_the_table_shows_the_first_metric_everywhere_and_the_others_once(lines):
    text = markdown(summarise(lines), ["accuracy", "auroc"])
    header = text.splitlines()[0]
    assert header == "| model | accuracy | accuracy flipped | auroc | parameters | s / epoch |"
    assert "| sequential | 0.810 ± 0.025 |" in text
    assert "over 3 seeds" in text


def test_tables_are_written_in_every_form(lines, tmp_path):
    write_tables(summarise(lines), tmp_path / "out", ["accuracy"])
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "table.csv",
        "table.md",
        "table.png",
    ]
    assert (tmp_path / "out" / "table.png").stat().st_size > 5000
    assert len(pd.read_csv(tmp_path / "out" / "table.csv")) == 8


def test_a_changed_setting_makes_another_cell():
    assert Cell("a", 0, {"rate": 0.1}).key != Cell("a", 0, {"rate": 0.2}).key
    assert Cell("a", 0, {"rate": 0.1}).key == Cell("a", 0, {"rate": 0.1}).key


def test_a_corrupt_cell_says_what_to_do(tmp_path):
    store = CellStore(tmp_path)
    cell = Cell("a", 0, {})
    store.path(cell).write_text('{"half": ')
    with pytest.raises(DataError, match="Delete it to run it again"):
        store.read([cell])
