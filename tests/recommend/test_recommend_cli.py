"""mmfuse recommend: a person asks for items, reads them, or has them written for everyone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from mmfuse import features
from mmfuse.cli import main
from mmfuse.errors import ConfigError
from mmfuse.recommend import ItemLists
from mmfuse.recommend import recommender as module
from mmfuse.recommend.serving import Recommender
from mmfuse.recommend.written import write_recommendations

USERS, ITEMS = 23, 31
ITEM_IDS = [f"B{i:03}" for i in range(ITEMS)]


@pytest.fixture
def recommender():
    draw = torch.Generator().manual_seed(0)
    parts = {n: torch.randn(ITEMS, 4, generator=draw) for n in ("id", "image")}
    pairs = torch.rand(USERS, ITEMS, generator=draw) < 0.2
    pairs[5] = True  # has taken everything
    seen = ItemLists.of(*pairs.nonzero(as_tuple=True), USERS, ITEMS)
    users = torch.randn(USERS, 4, generator=draw)
    items = parts["id"] + parts["image"]
    return Recommender(users, items, seen, range(40, 40 + USERS), ITEM_IDS, parts=parts)


@pytest.fixture
def ckpt(recommender, tmp_path):
    return str(recommender.save(tmp_path / "model.ckpt"))


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")


def told(capsys, *words):
    assert main(["recommend", *map(str, words)]) == 0
    return capsys.readouterr().out


def refused(capsys, *words):
    assert main(["recommend", *map(str, words)]) == 2
    found = capsys.readouterr()
    assert found.err.startswith("mmfuse: ")
    assert not found.out
    return found.err


def test_a_user_is_shown_the_best_items_by_their_ids(ckpt, recommender, capsys):
    out = told(capsys, ckpt, "--user", 42, "--k", 4)
    wanted = recommender.recommend(42, k=4)
    lines = [line.split() for line in out.splitlines() if line.split()[:1] in (["1"], ["4"])]
    assert lines[0] == ["1", wanted["item"][0], f"{wanted['score'][0]:.4f}"]
    assert lines[1] == ["4", wanted["item"][3], f"{wanted['score'][3]:.4f}"]


def test_an_explanation_adds_up_to_the_score(ckpt, capsys):
    out = told(capsys, ckpt, "--user", 42, "--k", 1, "--explain")
    (line,) = [line.split() for line in out.splitlines() if line.split()[:1] == ["1"]]
    score, *shares = map(float, line[2:])
    assert "from image" in out
    assert sum(shares) == pytest.approx(score, abs=2e-4)


def test_who_has_taken_everything_is_told_so(ckpt, capsys):
    out = told(capsys, ckpt, "--user", 45, 41, "--k", 2)
    assert "nothing to recommend to 45" in out
    assert "For 41" in out
    assert "For 45" in told(capsys, ckpt, "--user", 45, "--include_seen")


def test_similar_items_are_shown(ckpt, recommender, capsys):
    out = told(capsys, ckpt, "--similar_to", "B003", "--k", 2)
    assert all(i in out for i in recommender.similar_items("B003", 2)["similar"])


@pytest.mark.parametrize("together", [4, 4096])
def test_everyones_items_are_written(ckpt, recommender, tmp_path, capsys, monkeypatch, together):
    wanted = recommender.recommend(k=3)
    monkeypatch.setattr(module, "USERS_TOGETHER", together)
    out = told(capsys, ckpt, "--users", "all", "--k", 3, "--out", tmp_path / "recs.parquet")
    assert f"{len(wanted):,} lines" in out
    found = pd.read_parquet(tmp_path / "recs.parquet")
    assert list(found) == ["user", "item", "rank", "score"]
    assert found["user"].tolist() == wanted["user"].tolist()
    assert found["item"].tolist() == wanted["item"].tolist()
    np.testing.assert_allclose(found["score"], wanted["score"], rtol=1e-5)


@pytest.mark.parametrize("name", ["users.txt", "users.csv", "users.parquet"])
def test_users_come_from_a_file(ckpt, tmp_path, capsys, name):
    table = pd.DataFrame({"user": [44, 41]})
    if name.endswith("txt"):
        (tmp_path / name).write_text("44\n41\n\n")
    elif name.endswith("csv"):
        table.to_csv(tmp_path / name)
    else:
        table.to_parquet(tmp_path / name)
    out = tmp_path / "recs.parquet"
    told(capsys, ckpt, "--users", tmp_path / name, "--k", 2, "--out", out, "--explain")
    found = pd.read_parquet(out)
    assert found["user"].tolist() == [44, 44, 41, 41]
    total = found["from_id"] + found["from_image"]
    np.testing.assert_allclose(total, found["score"], rtol=1e-4, atol=1e-5)


def test_a_file_of_nobodys_items_still_has_its_columns(recommender, tmp_path):
    out = tmp_path / "recs.parquet"
    assert write_recommendations(recommender, out, [45], k=3, progress=False) == 0
    assert pq.read_schema(out).names == ["user", "item", "rank", "score"]


def test_a_file_is_written_whole_or_not_at_all(recommender, tmp_path, monkeypatch):
    out = tmp_path / "recs.parquet"
    write_recommendations(recommender, out, k=2, progress=False)
    before = out.read_bytes()
    blocks = recommender.blocks

    def broken(*args):
        yield next(blocks(*args))
        raise KeyboardInterrupt

    monkeypatch.setattr(recommender, "blocks", broken)
    with pytest.raises(KeyboardInterrupt):
        write_recommendations(recommender, out, k=5, progress=False)
    assert out.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["recs.parquet"]


def test_mistakes_are_told_in_one_sentence(ckpt, tmp_path, capsys):
    assert "no user 7. The 23 users" in refused(capsys, ckpt, "--user", 7)
    assert "no user 'ann'" in refused(capsys, ckpt, "--user", "ann")
    assert "no item 'B3'. Did you mean" in refused(capsys, ckpt, "--similar_to", "B3")
    assert "k is 0" in refused(capsys, ckpt, "--user", 42, "--k", 0)
    assert "There are 0 of --user" in refused(capsys, ckpt)
    assert "There are 2 of --user" in refused(capsys, ckpt, "--user", 42, "--users", "all")
    assert "Give --out FILE" in refused(capsys, ckpt, "--users", "all")
    assert "--explain does nothing" in refused(capsys, ckpt, "--similar_to", "B003", "--explain")
    assert "no checkpoint at" in refused(capsys, tmp_path / "none.ckpt", "--user", 42)
    assert "invalid int value: 'x'" in refused(capsys, ckpt, "--user", 42, "--k", "x")
    out = tmp_path / "recs.parquet"
    csv = refused(capsys, ckpt, "--users", "all", "--out", tmp_path / "recs.csv")
    assert "recs.csv; expected the name of a Parquet file" in csv
    assert "no file at" in refused(capsys, ckpt, "--users", tmp_path / "none", "--out", out)
    (tmp_path / "users.csv").write_text("who\n42\n")
    told_of = refused(capsys, ckpt, "--users", tmp_path / "users.csv", "--out", out)
    assert "no column 'user'; it has ['who']" in told_of
    (tmp_path / "users.parquet").write_text("no parquet")
    told_of = refused(capsys, ckpt, "--users", tmp_path / "users.parquet", "--out", out)
    assert "cannot be read" in told_of
    assert not out.exists()


def test_vectors_go_to_faiss_and_are_searched(ckpt, recommender, tmp_path, capsys):
    pytest.importorskip("faiss")
    folder = tmp_path / "vectors"
    told(capsys, ckpt, "--to_faiss", folder)
    found = features.index(folder, "item", "faiss", "dot").search(recommender.users, 3)
    wanted = recommender.recommend(k=3, exclude_seen=False)
    assert [ITEM_IDS[i] for i in found.rows.flatten()] == wanted["item"].tolist()
    ids = pd.read_parquet(folder / "item_ids.parquet")
    assert ids["id"].tolist() == ITEM_IDS
    words = ["--row", "2", "--by", "user", "--column", "item", "--metric", "dot"]
    assert main(["search", "--features", str(folder), *words, "--backend", "faiss"]) == 0
    shown = capsys.readouterr().out
    assert f"{wanted['score'][6]:.4f}" in shown
    assert "trained together" not in shown


def test_another_score_takes_a_metric(recommender, tmp_path):
    recommender.score = object()
    with pytest.raises(ConfigError, match="The score is object"):
        recommender.to_faiss(tmp_path / "vectors")
