"""FeatureIndex: the nearest rows, the same as a plain search finds, whoever searches."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfuse import Extractor, features
from mmfuse.errors import ConfigError, DataError, MissingFileError, OutputError
from mmfuse.features import faiss_index, neighbours, vectors
from mmfuse_encoders import LinearEncoder

BACKENDS = ["exact", "faiss", "faiss-hnsw", "faiss-ivf"]
METRICS = ["cosine", "dot", "l2"]


def same(width: int) -> LinearEncoder:
    """An encoder that gives its input."""
    encoder = LinearEncoder(width, out_dim=width)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.copy_(torch.eye(width) if parameter.ndim == 2 else torch.zeros(width))
    return encoder


def stored(folder, columns, **options) -> Path:
    """Features that are these rows, None where absent."""
    width = {n: len(next(r for r in rows if r is not None)) for n, rows in columns.items()}
    extractor = Extractor({n: same(w) for n, w in width.items()})
    options = {"shard_rows": 7, "batch_size": 3} | options
    extractor.extract(columns, folder, **options)
    return Path(folder)


def naive(rows, queries, k, metric):
    """Row numbers and scores by the definition."""
    numbers = np.array([i for i, r in enumerate(rows) if r is not None])
    values = np.array([r for r in rows if r is not None], np.float64)
    found = []
    for query in np.asarray(queries, np.float64):
        if metric == "l2":
            scores = np.sqrt(((values - query) ** 2).sum(axis=1))
        else:
            scores = np.array([(v * query).sum() for v in values])
        if metric == "cosine":
            lengths = np.sqrt((values**2).sum(axis=1)) * np.sqrt((query**2).sum())
            scores = np.divide(scores, lengths, out=np.zeros(len(values)), where=lengths > 0)
        scores = scores.astype(np.float32)
        order = np.lexsort((numbers, scores if metric == "l2" else -scores))[:k]
        found.append((numbers[order], scores[order]))
    return [np.stack(x) for x in zip(*found, strict=True)]


@pytest.fixture
def rows():
    source = np.random.default_rng(0)
    return [None if i % 6 == 1 else source.normal(size=4).tolist() for i in range(40)]


@pytest.fixture
def folder(rows, tmp_path):
    return stored(tmp_path / "f", {"a": rows})


# Small whole numbers tie often, and powers of two keep their cosines apart or equal.
cells = st.sampled_from([-2.0, -1.0, 0.0, 1.0, 2.0])
vector = st.tuples(cells, cells)


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


# Saved with the features.


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_a_saved_index_is_loaded_and_not_built(folder, backend, monkeypatch):
    first = features.index(folder, backend=backend).search_rows([0], 5)
    assert {p.name for p in (folder / "index").iterdir()} == {
        f"a-cosine-{backend}.faiss",
        f"a-cosine-{backend}.json",
    }
    monkeypatch.setattr(faiss_index, "_build", lambda *_: pytest.fail("built again"))
    again = features.index(folder, backend=backend).search_rows([0], 5)
    assert torch.equal(first.rows, again.rows)
    assert torch.equal(first.scores, again.scores)


def test_features_with_an_index_beside_them_load_as_before(rows, folder):
    features.index(folder, backend="faiss")
    assert len(features.load(folder)) == len(rows)
    same_again = {"shard_rows": 7, "batch_size": 3}
    manifest = Extractor({"a": same(4)}).extract({"a": rows}, folder, **same_again)
    assert manifest["rows_written"] == len(rows)


def test_an_index_of_other_features_or_options_is_built_again(rows, tmp_path, caplog):
    folder = stored(tmp_path / "f", {"a": rows})
    features.index(folder, backend="faiss-hnsw")
    other = stored(tmp_path / "g", {"a": rows[::-1]})
    (folder / "index").rename(other / "index")
    with caplog.at_level(logging.WARNING):
        found = features.index(other, backend="faiss-hnsw").search_rows([0], 5)
        assert "built again: other features" in caplog.text
        expected = features.index(other).search_rows([0], 5)
        assert torch.equal(found.rows, expected.rows)
        features.index(other, backend="faiss-hnsw", m=8)
        assert "built again: other options" in caplog.text
        caplog.clear()
        features.index(other, backend="faiss-hnsw", m=8, ef_search=500)
        assert not caplog.text


@pytest.mark.parametrize("damage", ["cut", "emptied", "note", "foreign"])
def test_a_damaged_index_is_built_again(folder, damage):
    expected = features.index(folder, backend="faiss").search_rows([0], 5)
    file, note = (folder / "index" / f"a-cosine-faiss.{end}" for end in ("faiss", "json"))
    content = file.read_bytes()
    if damage == "note":
        note.write_text("[")
    elif damage == "foreign":
        note.write_text("[]")
    else:
        file.write_bytes(content[:40] if damage == "cut" else b"")
    found = features.index(folder, backend="faiss").search_rows([0], 5)
    assert torch.equal(found.rows, expected.rows)
    assert file.read_bytes() == content


def test_a_build_that_is_stopped_leaves_nothing_that_is_read(folder, monkeypatch):
    import faiss

    def stopped(built, name):
        Path(name).write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(faiss, "write_index", stopped)
        with pytest.raises(KeyboardInterrupt):
            features.index(folder, backend="faiss")
    assert list((folder / "index").iterdir()) == []
    assert len(features.index(folder, backend="faiss")) == 33


def test_a_folder_that_cannot_be_written_is_told(folder):
    (folder / "index").write_text("in the way")
    with pytest.raises(OutputError, match="take the exact backend"):
        features.index(folder, backend="faiss")


def test_without_faiss_the_remedy_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ConfigError, match=r"pip install mmfuse\[search\]"):
        features.index(folder, backend="faiss")
    assert len(features.index(folder)) == 33


# Mistakes.


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
