"""What search shows of a row beside its score."""

from __future__ import annotations

import numpy as np
import pytest

from mmfuse import ArrayData, Extractor
from mmfuse.features.labels import labels_of
from mmfuse.model import Towers
from mmfuse_encoders import MLPEncoder


@pytest.mark.parametrize("format", ["parquet", "safetensors"])
def test_each_kind_of_target_reads_as_a_person_knows_it(tmp_path, format):
    source = np.random.default_rng(0)
    targets = {
        "kind": ["cat", None, "dog", "cow"] * 5,
        "year": [1901.5, np.nan, 3.25, 4.0] * 5,
        "tags": np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1]] * 5),
    }
    data = ArrayData({"a": source.normal(size=(20, 2))}, targets)
    encoders = {"a": MLPEncoder(data.spec.modalities["a"], out_dim=3)}
    options = {"format": format, "shard_rows": 6, "batch_size": 4}
    Extractor(Towers(data.spec, encoders)).extract(data, tmp_path / "f", **options)
    found = labels_of(tmp_path / "f", [18, 0, 1, 18])
    assert found[0] == found[3]
    assert [f["target.kind"] for f in found[:3]] == ["dog", "cat", ""]
    assert [f["target.year"] for f in found[:3]] == ["3.25", "1902", ""]
    names = data.spec.targets["tags"].classes
    assert [f["target.tags"] for f in found[:3]] == [names[1], f"{names[0]}, {names[2]}", ""]
    assert list(found[0]) == ["split", "target.kind", "target.year", "target.tags"]
    assert all(f["split"] in ("train", "val", "test") for f in found)
