"""FeatureIndex: the nearest rows, the same as a plain search finds, whoever searches."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from index_samples import BACKENDS, METRICS, naive, stored, vector

from mmfuse import Extractor, features
from mmfuse.errors import ConfigError, DataError
from mmfuse.features import neighbours, vectors


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(st.none() | vector, min_size=1, max_size=20).filter(any),
    queries=st.lists(vector, min_size=1, max_size=3),
    metric=st.sampled_from(METRICS),
    format=st.sampled_from(["parquet", "safetensors"]),
    data=st.data(),
)
def test_exact_finds_what_a_plain_search_finds_with_ties_and_absent_rows(
    rows, queries, metric, format, data
):
    k = data.draw(st.integers(1, sum(r is not None for r in rows)))
    with tempfile.TemporaryDirectory() as place:
        folder = stored(Path(place) / "f", {"a": rows}, format=format)
        found = features.index(folder, metric=metric).search(queries, k)
    expected_rows, expected_scores = naive(rows, queries, k, metric)
    np.testing.assert_allclose(found.scores, expected_scores, atol=1e-6)
    np.testing.assert_array_equal(found.rows, expected_rows)


@pytest.mark.parametrize("metric", METRICS)
def test_equal_vectors_tie_wherever_they_stand(tmp_path, metric):
    source = np.random.default_rng(1)
    one, other = source.normal(size=(2, 33))
    rows = [(one if i % 3 else other).tolist() for i in range(200)]
    index = features.index(stored(tmp_path / "f", {"a": rows}, shard_rows=41), metric=metric)
    found = index.search(torch.tensor(np.stack([one, one + 1e-3]), dtype=torch.float32), 60)
    expected = [i for i in range(200) if i % 3][:60]
    assert found.rows.tolist() == [expected, expected]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend_agrees_with_the_plain_search_on_few_rows(rows, folder, backend, metric):
    queries = np.random.default_rng(2).normal(size=(9, 4)).astype(np.float32)
    found = features.index(folder, "a", backend, metric).search(queries, 5)
    expected_rows, expected_scores = naive(rows, queries, 5, metric)
    np.testing.assert_array_equal(found.rows, expected_rows)
    np.testing.assert_allclose(found.scores, expected_scores, atol=1e-5)
    assert found.rows.dtype == torch.int64
    assert found.scores.dtype == torch.float32


@pytest.mark.parametrize(
    ("format", "dtype"),
    [("parquet", "float16"), ("safetensors", "float16"), ("safetensors", "bfloat16")],
)
def test_half_precision_is_read_as_it_was_stored(rows, tmp_path, format, dtype):
    folder = stored(tmp_path / "f", {"a": rows}, format=format, dtype=dtype)
    half = getattr(torch, dtype)
    kept = [None if r is None else torch.tensor(r).to(half).float().tolist() for r in rows]
    found = features.index(folder).search_rows([0, 39], 6, exclude_self=False)
    expected, _ = naive(kept, [kept[0], kept[39]], 6, "cosine")
    np.testing.assert_array_equal(found.rows, expected)


@pytest.mark.parametrize("metric", METRICS)
def test_blocks_and_parts_change_nothing(folder, monkeypatch, metric):
    whole = features.index(folder, metric=metric).search_rows([0, 2, 3, 39], 30)
    monkeypatch.setattr(vectors, "_BLOCK", 8)
    monkeypatch.setattr("mmfuse.features.neighbours._PAIRS", 12)
    monkeypatch.setattr("mmfuse.features.feature_index._TOGETHER", 3)
    monkeypatch.setattr("mmfuse.features.feature_index._AT_A_TIME", 2)
    parts = features.index(folder, metric=metric).search_rows([0, 2, 3, 39], 30)
    assert torch.equal(whole.rows, parts.rows)
    assert torch.equal(whole.scores, parts.scores)


def test_distances_far_from_the_origin_lose_nothing(tmp_path):
    source = np.random.default_rng(5)
    rows = (1000 + source.normal(size=(300, 8)) / 100).astype(np.float32).tolist()
    folder = stored(tmp_path / "f", {"a": rows}, shard_rows=90, batch_size=50)
    found = features.index(folder, metric="l2").search_rows(range(300), 5, exclude_self=False)
    expected_rows, expected_scores = naive(rows, rows, 5, "l2")
    np.testing.assert_array_equal(found.rows, expected_rows)
    np.testing.assert_allclose(found.scores, expected_scores, rtol=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(METRICS),
    st.integers(1, 12),
    st.sampled_from([1.0, 1e-20, 1e15]),
)
def test_candidates_by_a_product_are_those_by_the_definition(seed, metric, k, scale):
    source = torch.Generator().manual_seed(seed)
    values = torch.randn(60, 9, generator=source)[torch.randint(60, (200,), generator=source)]
    queries = torch.cat([values[:4], torch.randn(3, 9, generator=source)]) * scale
    values = values * scale
    keys = torch.full((7, k), neighbours.NOBODY)
    a, b = (neighbours.prepared(x, metric) for x in (queries, values))
    for rows in torch.arange(200).split(31):
        keys = neighbours.nearer(keys, a, rows, b[rows], metric)
    found = neighbours.Neighbours.of(keys, metric)
    expected_rows, expected_scores = naive(values.tolist(), queries.tolist(), k, metric)
    np.testing.assert_allclose(found.scores, expected_scores, rtol=1e-5, atol=1e-6 * scale)
    np.testing.assert_array_equal(found.rows, expected_rows)


def test_exact_search_reads_a_bounded_part_at_a_time(folder, monkeypatch):
    monkeypatch.setattr(vectors, "_BLOCK", 8)
    sizes = [values.shape for _, values in features.index(folder).vectors.blocks()]
    assert max(sizes) <= (2, 4)
    assert sum(n for n, _ in sizes) == 33


@pytest.mark.parametrize("backend", ["exact", "faiss"])
@pytest.mark.parametrize("metric", METRICS)
def test_a_row_is_not_its_own_neighbour(rows, folder, backend, metric):
    index = features.index(folder, backend=backend, metric=metric)
    queries = [39, 0, 7 * 3 + 2]
    found = index.search_rows(queries, 32)
    for i, row in enumerate(queries):
        everyone = naive(rows, [rows[row]], 33, metric)[0][0]
        assert found.rows[i].tolist() == [r for r in everyone if r != row]
    with_self = index.search_rows(queries, 33, exclude_self=False)
    assert all(row in with_self.rows[i] for i, row in enumerate(queries))


def test_equal_rows_find_each_other_but_not_themselves(tmp_path):
    index = features.index(stored(tmp_path / "f", {"a": [[1.0, 0.0]] * 9}))
    assert index.search_rows([0, 8, 4], 2).rows.tolist() == [[1, 2], [0, 1], [0, 1]]


def test_another_modality_queries_the_same_space(rows, tmp_path):
    turned = rows[1:] + rows[:1]
    folder = stored(tmp_path / "f", {"image": rows, "text": turned})
    index = features.index(folder, "image", metric="l2")
    found = index.search_rows([2, 38], 1, column="text")
    assert found.rows.tolist() == [[3], [39]]
    assert found.scores.tolist() == [[0], [0]]
    with pytest.raises(DataError, match=r"Rows \[0\] have no 'text'"):
        index.search_rows([0, 2], 1, column="text")


def test_a_row_finds_itself_by_another_modality_unless_told_not_to(rows, tmp_path):
    index = features.index(stored(tmp_path / "f", {"image": rows, "text": rows}), "image")
    found = index.search_rows([0, 2, 39], 9, column="text")
    assert found.rows[:, 0].tolist() == [0, 2, 39]
    others = index.search_rows([0, 2, 39], 8, column="text", exclude_self=True)
    assert torch.equal(others.rows, found.rows[:, 1:])


def test_columns_of_unequal_width_share_no_space(rows, tmp_path):
    folder = stored(tmp_path / "f", {"image": rows, "text": [[1.0, 2.0]] * 40})
    with pytest.raises(ConfigError, match=r"'text' has width 2, 'image' has 4"):
        features.index(folder, "image").search_rows([2], 1, column="text")


def test_only_some_rows_may_have_been_extracted(rows, tmp_path, model, data):
    manifest = Extractor(model).extract(data, tmp_path / "f", ["a"], "test", shard_rows=4)
    assert manifest["rows_written"] < len(data.dataset("test"))
    written = features.load(tmp_path / "f")
    for backend in ("exact", "faiss"):
        index = features.index(tmp_path / "f", backend=backend)
        held = [r for r, v in zip(written["row"], written["a"], strict=True) if v is not None]
        assert len(index) == len(held)
        found = index.search_rows(held, 1, exclude_self=False)
        assert found.rows[:, 0].tolist() == held


@pytest.mark.parametrize(
    ("backend", "options"), [("faiss-hnsw", {}), ("faiss-ivf", {}), ("faiss-ivf", {"nlist": 50})]
)
def test_approximate_search_finds_nearly_all(tmp_path, backend, options):
    source = np.random.default_rng(3)
    centres = source.normal(size=(50, 16))
    rows = (centres[source.integers(50, size=4000)] + source.normal(size=(4000, 16)) / 4).tolist()
    folder = stored(tmp_path / "f", {"a": rows}, shard_rows=1500, batch_size=500)
    queries = list(range(0, 4000, 13))
    exact = features.index(folder).search_rows(queries, 10)
    index = features.index(folder, backend=backend, **options)
    found = index.search_rows(queries, 10)
    pairs = zip(exact.rows.tolist(), found.rows.tolist(), strict=True)
    hits = [len(set(a) & set(b)) for a, b in pairs]
    assert sum(hits) / (10 * len(queries)) >= 0.95


def test_more_effort_finds_more_in_the_same_saved_index(tmp_path):
    source = np.random.default_rng(4)
    folder = stored(
        tmp_path / "f", {"a": source.normal(size=(2000, 32)).tolist()}, shard_rows=2000,
        batch_size=500,
    )  # fmt: skip
    queries = list(range(0, 2000, 20))
    exact = features.index(folder).search_rows(queries, 10).rows.tolist()
    found = []
    for backend, effort in [("faiss-ivf", {"nprobe": n}) for n in (1, 50)]:
        here = features.index(folder, backend=backend, **effort).search_rows(queries, 10)
        pairs = zip(exact, here.rows.tolist(), strict=True)
        found.append(sum(len(set(a) & set(b)) for a, b in pairs))
    assert found[0] < found[1] == 1000


def test_an_index_that_finds_fewer_says_so(tmp_path):
    rows = [[1.0, 0.0]] * 60 + [[-1.0, 0.001 * i] for i in range(60)]
    folder = stored(tmp_path / "f", {"a": rows}, shard_rows=200, batch_size=100)
    index = features.index(folder, backend="faiss-ivf", nlist=2, nprobe=1)
    found = index.search([[1.0, 0.0]], 100)
    assert (found.rows[0] >= 0).sum() == 60
    assert (found.rows[0, 60:] == -1).all()
    assert found.scores[0, 60:].isnan().all()
