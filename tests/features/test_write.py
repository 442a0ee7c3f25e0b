"""Vectors that another program made become a folder like any other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmfuse import features
from mmfuse.data import FeatureData
from mmfuse.errors import ConfigError, DataError
from mmfuse.features.vectors import StoredVectors
from mmfuse.store import SPLITS

X = np.random.default_rng(0).normal(size=(21, 4)).astype(np.float32)
GAPS = [None if i % 5 == 0 else X[i, :3] for i in range(21)]


@pytest.mark.parametrize("format", ["parquet", "safetensors"])
def test_what_is_written_is_read_back(tmp_path, format):
    split = ["train"] * 15 + ["val"] * 5 + [None]
    rows = torch.arange(21) * 2
    options = {"rows": rows, "split": split, "format": format, "shard_rows": 8}
    manifest = features.write(tmp_path / "f", {"a": X, "b": GAPS}, **options)
    assert manifest["rows_written"] == 21
    assert len(manifest["shards"]) == 3
    found = features.load(tmp_path / "f")
    assert found["row"][:] == rows.tolist()
    assert found["split"][:] == split
    assert np.allclose(found["a"][:], X)
    assert [v is None for v in found["b"][:]] == [v is None for v in GAPS]
    stored = StoredVectors(tmp_path / "f", "b", verify=True)
    numbers, values = (torch.cat(parts) for parts in zip(*stored.blocks(), strict=True))
    assert numbers.tolist() == [2 * i for i in range(21) if i % 5]
    assert np.allclose(values, [v for v in GAPS if v is not None])
    numbers, codes = stored.splits()
    assert [None if c < 0 else SPLITS[c] for c in codes.tolist()] == split


def test_it_is_searched_and_trained_on_like_any_other(tmp_path):
    split = ["train"] * 15 + ["val"] * 3 + ["test"] * 3
    features.write(tmp_path / "f", {"a": X, "b": GAPS}, split=split, made_by="someone")
    near = features.index(tmp_path / "f", "a").search_rows([3], k=1)
    assert near.rows.item() != 3
    data = FeatureData(str(tmp_path / "f"))
    assert list(data.spec.modalities) == ["a", "b"]
    assert data.rows("val").tolist() == [15, 16, 17]


def test_the_same_call_goes_on_and_another_is_refused(tmp_path):
    first = features.write(tmp_path / "f", {"a": X}, shard_rows=8)
    (tmp_path / "f" / "data" / "part-00001-of-00003.parquet").unlink()
    (tmp_path / "f" / "manifest.json").unlink()
    assert features.write(tmp_path / "f", {"a": X}, shard_rows=8) == first
    features.load(tmp_path / "f", verify=True)
    with pytest.raises(ConfigError, match="another plan"):
        features.write(tmp_path / "f", {"a": X + 1}, shard_rows=8)


@pytest.mark.parametrize(
    ("columns", "options", "error", "words"),
    [
        ({}, {}, DataError, "rows"),
        ({"a": X[:0]}, {}, DataError, "from 1 up"),
        ({"a": X, "b": X[:3]}, {}, DataError, "21"),
        ({"a": X[:, 0]}, {}, DataError, r"expected \(rows, width\)"),
        ({"a": [[1.0], [1.0, 2.0]]}, {}, DataError, "one width"),
        ({"a": [None, None]}, {}, DataError, "none holds a vector"),
        ({"a": X}, {"rows": [0] * 21}, DataError, "each once"),
        ({"a": X}, {"rows": np.arange(21.0)}, DataError, "whole numbers"),
        ({"a": X}, {"split": "training"}, ConfigError, "training"),
        ({"a": X}, {"split": ["train"]}, ConfigError, "has 1"),
        ({"a": X}, {"format": "csv"}, ConfigError, "csv"),
        ({"a": X}, {"dtype": "bfloat16"}, ConfigError, "no bfloat16"),
        ({"a": X}, {"shard_rows": 0}, ConfigError, "shard_rows"),
    ],
)
def test_what_cannot_be_written_is_told(tmp_path, columns, options, error, words):
    with pytest.raises(error, match=words):
        features.write(tmp_path / "f", columns, **options)
    assert not (tmp_path / "f" / "plan.json").exists()
