"""FeatureIndex: an index saved beside its features."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest
import torch
from index_samples import BACKENDS, same, stored

from mmfuse import Extractor, features
from mmfuse.errors import ConfigError, OutputError
from mmfuse.features import faiss_index


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
