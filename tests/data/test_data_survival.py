"""Survival targets: how they are declared, read, refused and cut into time bins."""

from __future__ import annotations

from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from mmfuse.data import ArrayData, HFData, NpzData, Survival, TableData
from mmfuse.errors import ConfigError, DataError
from mmfuse.spec import DataSpec

NAN = float("nan")
ROWS = 40
DRAW = np.random.default_rng(0)
GRID = DRAW.normal(size=(ROWS, 2)).astype(np.float32)
TIME = DRAW.exponential(10, ROWS).round(2)
EVENT = np.arange(ROWS) % 3 > 0
SPLIT = np.array(["train"] * 24 + ["val"] * 8 + ["test"] * 8)
PAIRS = torch.tensor(np.stack([TIME, EVENT], axis=1), dtype=torch.float32)


def data_of(target: Any, **options: Any) -> ArrayData:
    return ArrayData({"a": GRID}, {"os": target}, **{"split": SPLIT, **options})


def values_of(data: Any, rows: int = ROWS) -> torch.Tensor:
    return data.dataset("train").__getitems__(range(rows)).target["os"]


def test_bins_end_at_quantiles_of_the_training_events() -> None:
    cuts = data_of(Survival(TIME, EVENT)).spec.targets["os"].cuts
    train = EVENT[:24]
    inner = np.quantile(TIME[:24][train], [0.25, 0.5, 0.75], method="inverted_cdf")
    assert cuts == pytest.approx([*inner, TIME[:24].max()])


def test_no_bins_make_coxs_model() -> None:
    spec = data_of(Survival(TIME, EVENT), survival_bins=0).spec.targets["os"]
    assert spec.is_cox
    assert spec.out_dim == 1


def test_bins_that_ties_leave_empty_fall_away() -> None:
    time = np.where(np.arange(ROWS) % 2, 5.0, 3.0)
    assert data_of(Survival(time, EVENT)).spec.targets["os"].cuts == (3.0, 5.0)


@pytest.mark.parametrize(
    "target",
    [
        Survival(TIME, EVENT),
        Survival(TIME, censored=~EVENT),
        Survival(TIME, censored=1 - EVENT.astype(float)),
        Survival(pd.Series(TIME), pd.Series(EVENT, dtype="boolean")),
        {"time": TIME.tolist(), "event": EVENT.tolist()},
        {"time": torch.from_numpy(TIME), "censored": torch.from_numpy(~EVENT)},
    ],
)
def test_events_and_censorings_are_two_ways_to_say_the_same(target: Any) -> None:
    assert torch.equal(values_of(data_of(target)), PAIRS)


def test_rows_of_time_and_event_are_survival_where_declared() -> None:
    data = data_of(PAIRS.numpy(), target_kinds={"os": "survival"})
    assert torch.equal(values_of(data), PAIRS)


def test_an_unknown_outcome_is_empty_in_both() -> None:
    time, event = TIME.astype(object), EVENT.astype(object)
    time[4] = event[4] = None
    found = values_of(data_of(Survival(time, event)))
    assert found[4].isnan().all()
    assert found.isfinite().all(dim=1).sum() == ROWS - 1


def test_splits_are_stratified_by_the_event() -> None:
    data = data_of(Survival(TIME, EVENT), split=None)
    shares = [EVENT[data.rows(s).numpy()].mean() for s in ("train", "val", "test")]
    assert shares == pytest.approx([EVENT.mean()] * 3, abs=0.07)


def test_the_label_group_is_the_event() -> None:
    facts = data_of(Survival(TIME, EVENT)).facts("train")
    assert facts.group.tolist() == EVENT[:24].astype(int).tolist()


def table() -> pd.DataFrame:
    frame = pd.DataFrame(GRID, columns=["x", "y"])
    return frame.assign(months=TIME, alive=(~EVENT).astype(int), part=SPLIT)


TARGETS: Any = {"os": {"time": "months", "censored": "alive"}}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables_name_the_columns(suffix: str, tmp_path: Any) -> None:
    path = str(tmp_path / f"t{suffix}")
    table().to_csv(path, index=False) if suffix == ".csv" else table().to_parquet(path)
    data = TableData(path, {"a": ["x", "y"]}, TARGETS, split="part")
    assert torch.equal(values_of(data), PAIRS)


def test_saved_data_sets_name_the_columns(tmp_path: Any) -> None:
    datasets.Dataset.from_pandas(table()).save_to_disk(str(tmp_path))
    data = HFData(str(tmp_path), {"a": ["x", "y"]}, TARGETS, split="part")
    assert torch.equal(values_of(data), PAIRS)


def test_archives_name_the_keys(tmp_path: Any) -> None:
    path = str(tmp_path / "a.npz")
    np.savez(path, x=GRID, months=TIME, dead=EVENT, part=SPLIT)
    targets: Any = {"os": {"time": "months", "event": "dead"}}
    assert torch.equal(values_of(NpzData(path, ["x"], targets, split="part")), PAIRS)


def test_yaml_declares_it(tmp_path: Any) -> None:
    from jsonargparse import ArgumentParser

    path = str(tmp_path / "t.csv")
    table().to_csv(path, index=False)
    parser = ArgumentParser()
    parser.add_subclass_arguments(TableData, "data")
    options = {
        "path": path,
        "modalities": {"a": ["x", "y"]},
        "targets": TARGETS,
        "split": "part",
        "survival_bins": 2,
    }
    text = yaml.safe_dump({"data": {"class_path": "mmfuse.TableData", "init_args": options}})
    data = parser.instantiate(parser.parse_string(text)).data
    assert torch.equal(values_of(data), PAIRS)
    assert len(data.spec.targets["os"].cuts) == 2
    assert data.settings()["init_args"]["targets"]


def test_a_spec_survives_its_plain_form() -> None:
    spec = data_of(Survival(TIME, EVENT)).spec
    assert DataSpec.from_dict(spec.to_dict()) == spec


def test_a_trained_models_cuts_count() -> None:
    spec = data_of(Survival(TIME, EVENT), survival_bins=2).spec
    other = ArrayData({"a": GRID}, {"os": Survival(2 * TIME, EVENT)}, test=1.0)
    other.adopt(spec)
    assert other.spec == spec
    assert torch.equal(values_of(other), PAIRS * torch.tensor([2.0, 1.0]))


@pytest.mark.parametrize(
    ("time", "event", "words"),
    [
        (-TIME, EVENT, "row 0 has the time -.*0 or more"),
        (np.where(EVENT, np.inf, TIME), EVENT, "row 1 has the time inf"),
        (TIME, np.where(EVENT, 2, 0), "row 1 has the event 2"),
        (TIME, np.where(np.arange(ROWS) == 7, NAN, EVENT), r"1 row\(s\).*row 7 .a time without"),
        (np.where(np.arange(ROWS) == 7, NAN, TIME), EVENT, "row 7 .an event without a time"),
        (TIME, np.zeros(ROWS), "none of the 24 training rows has an event.*censored"),
        (np.where(EVENT, 0.0, TIME), EVENT, "every training event is at time 0"),
        ([*map(str, TIME[:-1]), "soon"], EVENT, "the time holds a value that is no"),
        (TIME, ["yes"] * ROWS, "the event holds a value that is no number"),
        (TIME, EVENT[:-1], "40 times and 39 events"),
    ],
)
def test_what_cannot_be_is_told(time: Any, event: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        assert data_of(Survival(time, event)).spec


def test_a_strange_value_of_censored_is_told_as_it_stands() -> None:
    with pytest.raises(DataError, match="row 1 has 2 for censored"):
        assert data_of(Survival(TIME, censored=np.where(EVENT, 2, 0))).spec


def test_wrong_declarations_are_told() -> None:
    with pytest.raises(ConfigError, match="either event"):
        assert data_of(Survival(TIME)).spec
    with pytest.raises(ConfigError, match="either event"):
        assert data_of(Survival(TIME, EVENT, ~EVENT)).spec
    with pytest.raises(ConfigError, match=r"mapping of .'dead', 'time'."):
        assert data_of({"time": TIME, "dead": EVENT}).spec
    with pytest.raises(ConfigError, match="target_kinds calls it regression"):
        assert data_of(Survival(TIME, EVENT), target_kinds={"os": "regression"}).spec
    with pytest.raises(ConfigError, match="survival_bins is -1"):
        data_of(Survival(TIME, EVENT), survival_bins=-1)
    with pytest.raises(DataError, match=r"expected a time and an event.*\(40,\)"):
        assert data_of(TIME, target_kinds={"os": "survival"}).spec
