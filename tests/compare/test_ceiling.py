"""The ceiling: one model for each subset of the modalities."""

from __future__ import annotations

import numpy as np
import pytest

from mmfuse.compare import CEILING, subset_ceiling
from mmfuse.data import ArrayData
from mmfuse.errors import ConfigError, UnknownModalityError
from mmfuse.missing import MCAR
from mmfuse.tasks import SupervisedTask
from mmfuse.trainer import Trainer

ROWS = 160


def data_of(modalities: str = "ab", **options) -> ArrayData:
    """``a`` tells the label, the others nothing."""
    draw = np.random.default_rng(0)
    label = np.arange(ROWS) % 2
    inputs = {m: draw.normal(size=(ROWS, 3)) for m in modalities}
    inputs["a"] += 3 * label[:, None]
    split = np.repeat(["train", "val", "test"], [80, 30, 50])
    return ArrayData(inputs, label, split=split, batch_size=20, **options)


def task_of(subset: tuple[str, ...]) -> SupervisedTask:
    encoder = {"class_path": "MLPEncoder", "init_args": {"hidden": [16], "out_dim": 8}}
    return SupervisedTask(dict.fromkeys(subset, encoder), fusion="MeanFusion")


def trainer_of(folder):
    made = Trainer(max_epochs=15, default_root_dir=str(folder), logger=False)
    return made.fresh


def test_each_subset_has_a_model_that_saw_nothing_else(tmp_path):
    asked = []

    def make(subset):
        asked.append(subset)
        return task_of(subset)

    data = data_of(missing=MCAR(0.2))
    found = subset_ceiling(make, data, trainer_of(tmp_path), [0, 1], tmp_path / "ceiling")
    assert set(asked) == {("a",), ("b",), ("a", "b")}
    assert set(found["variant"]) == {CEILING}
    assert list(dict.fromkeys(found["present"])) == ["a", "b", "a,b"]
    assert list(dict.fromkeys(found["condition"])) == ["only a", "only b", "only a + b"]
    area = found[found["metric"] == "auroc"].set_index(["present", "seed"])["value"]
    assert len(area) == 6
    assert (area["a"] > 0.9).all()
    assert (area["b"] < 0.75).all()
    asked.clear()
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "ceiling").rglob("*.json")}
    again = subset_ceiling(make, data, trainer_of(tmp_path), [0, 1], tmp_path / "ceiling")
    assert again.equals(found)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "ceiling").rglob("*.json")} == before


def test_too_many_modalities_need_subsets_by_name(tmp_path):
    data = data_of("abcde")
    options = (trainer_of(tmp_path), [0], tmp_path / "ceiling")
    with pytest.raises(ConfigError, match="31 subsets"):
        subset_ceiling(task_of, data, *options)
    found = subset_ceiling(task_of, data, *options, kept=[("b", "e")])
    assert set(found["condition"]) == {"only b + e"}


def test_subsets_that_are_none_or_unknown_are_refused(tmp_path):
    options = (trainer_of(tmp_path), [0], tmp_path / "ceiling")
    with pytest.raises(ConfigError, match="names no subset"):
        subset_ceiling(task_of, data_of(), *options, kept=[])
    with pytest.raises(UnknownModalityError, match="smell"):
        subset_ceiling(task_of, data_of(), *options, kept=[("smell",)])
    with pytest.raises(ConfigError, match="one seed"):
        subset_ceiling(task_of, data_of(), options[0], [], tmp_path)


def test_narrowed_data_keep_their_splits():
    data = data_of(missing=MCAR(0.2))
    narrow = data.narrowed(["b"])
    assert tuple(narrow.spec.modalities) == ("b",)
    for split in ("train", "val", "test"):
        assert narrow.rows(split).tolist() == data.rows(split).tolist()
    assert narrow.missing is data.missing
