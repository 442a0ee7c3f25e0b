"""FeatureIndex: queries, columns and options that are refused."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from index_samples import BACKENDS, same, stored

from mmfuse import Extractor, features
from mmfuse.errors import ConfigError, DataError, MissingFileError


@pytest.mark.parametrize("backend", ["exact", "faiss"])
@pytest.mark.parametrize(
    ("query", "told"),
    [
        ([[1.0, 2.0, 3.0]], r"shape \(1, 3\); 'a' needs \(Q, 4\)"),
        ([1.0, 2.0, 3.0, 4.0], r"shape \(4,\)"),
        (torch.zeros(0, 4), r"shape \(0, 4\)"),
        ([[1.0, 2.0, 3.0, float("nan")]], "NaN or infinity"),
        ([[1.0, 2.0, 3.0, float("inf")]], "NaN or infinity"),
        ([["a", "b", "c", "d"]], "no tensor"),
        ([[1.0], [1.0, 2.0]], "no tensor"),
    ],
)
def test_a_query_that_does_not_fit_is_refused(folder, backend, query, told):
    with pytest.raises(DataError, match=told):
        features.index(folder, backend=backend).search(query, 1)


@pytest.mark.parametrize("backend", ["exact", "faiss"])
def test_more_neighbours_than_rows_are_refused(folder, backend):
    index = features.index(folder, backend=backend)
    for k in (0, -1, 34, 10**12):
        with pytest.raises(ConfigError, match=f"k is {k}, and 33 rows of 'a' can be found"):
            index.search([[1.0, 2.0, 3.0, 4.0]], k)
    with pytest.raises(ConfigError, match="k is 33, and 32 rows"):
        index.search_rows([0], 33)


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ([1], r"Rows \[1\] have no 'a'"),
        ([0, 40], r"Rows \[40\] are not among the features in .*, whose rows are 0 to 39"),
        ([-1], r"Rows \[-1\]"),
        ([0.5], "expected row numbers"),
        ([[0]], "expected row numbers"),
        ([True], "expected row numbers"),
        ([], "expected row numbers"),
        ("a", "no tensor"),
    ],
)
def test_rows_that_cannot_query_are_refused(folder, wanted, told):
    with pytest.raises(DataError, match=told):
        features.index(folder).search_rows(wanted, 1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_column_without_any_vector_is_refused(tmp_path, backend):
    encoders = {"a": same(2), "b": same(2)}
    columns = {"a": [[1.0, 2.0]], "b": [None]}
    Extractor(encoders).extract(columns, tmp_path / "f")
    with pytest.raises(DataError, match=r"No row in .* has 'b'"):
        features.index(tmp_path / "f", "b", backend)


def test_stored_infinity_is_refused_and_not_ranked(tmp_path):
    folder = stored(tmp_path / "f", {"a": [[1.0], [1e6], [2.0]]}, dtype="float16")
    for backend in ("exact", "faiss"):
        with pytest.raises(DataError, match="Row 1: 'a' holds NaN or infinity"):
            features.index(folder, backend=backend).search([[1.0]], 1)


def test_the_column_must_be_one_of_vectors_and_be_named_if_there_are_several(model, data, tmp_path):
    what = ["a", "s", "s.tokens", "fused"]
    Extractor(model).extract(data, tmp_path / "f", what)
    with pytest.raises(ConfigError, match=r"has the vectors a, s, fused. Choose"):
        features.index(tmp_path / "f")
    with pytest.raises(ConfigError, match=r"'s.tokens' holds sequences"):
        features.index(tmp_path / "f", "s.tokens")
    with pytest.raises(ConfigError, match=r"'image' is not in .* Columns of vectors: a, s, fused"):
        features.index(tmp_path / "f", "image")
    assert len(features.index(tmp_path / "f", "fused")) == 53


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"backend": "annoy"}, "backend is 'annoy'; expected one of exact, faiss"),
        ({"metric": "l1"}, "metric is 'l1'; expected one of cosine, dot, l2"),
        ({"m": 3}, r"exact backend has no options; found \['m'\]"),
        ({"backend": "faiss", "m": 3}, r"faiss backend has no option \['m'\]; it has none"),
        ({"backend": "faiss-ivf", "m": 3}, "it has nlist, nprobe"),
        ({"backend": "faiss-hnsw", "m": 0}, "m is 0; expected a whole number from 1 up"),
        ({"backend": "faiss-ivf", "nlist": 99}, "nlist is 99; there are 33 vectors"),
    ],
)
def test_an_option_that_means_nothing_is_refused(folder, options, told):
    with pytest.raises(ConfigError, match=told):
        features.index(folder, **options)


@pytest.mark.parametrize("backend", ["exact", "faiss"])
def test_changed_features_are_refused(folder, backend):
    shard = folder / json.loads((folder / "manifest.json").read_text())["shards"][1]["file"]
    content = bytearray(shard.read_bytes())
    content[40] ^= 1
    shard.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        features.index(folder, backend=backend)


def test_features_that_are_not_there_are_named(tmp_path):
    with pytest.raises(MissingFileError, match="no folder of features"):
        features.index(tmp_path / "nowhere")


def test_features_are_there_after_the_first_import():
    code = "import sys, mmfuse; assert 'torch' not in sys.modules; mmfuse.features.index"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_array_that_cannot_be_written_is_a_query_like_any_other(folder, rows):
    queries = np.array([rows[0]], np.float32)
    queries.flags.writeable = False
    found = features.index(folder).search(queries, k=3)
    assert found.rows[0, 0] == 0
