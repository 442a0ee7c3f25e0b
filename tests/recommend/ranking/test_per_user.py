"""Metrics of single users in a file, and two models compared over them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from mmfuse.errors import ConfigError, DataError, MissingFileError
from mmfuse.recommend.ranking import RankingEvaluation, compare_users, write_per_user
from mmfuse.recommend.ranking.per_user import drawn_means

N = 200


def table(shift: float, seed: int, users: int = N) -> pd.DataFrame:
    base = np.random.default_rng(0).random(users)
    noise = np.random.default_rng(seed).normal(0, 0.2, users)
    return pd.DataFrame(
        {"user": [f"u{i}" for i in range(users)], "ndcg_at_5": base + noise + shift}
    )


def test_metrics_of_users_are_written_with_their_ids(tmp_path):
    evaluation = RankingEvaluation(
        torch.tensor([2, 0]),
        {"recall_at_5": torch.tensor([0.5, torch.nan]).double()},
        {"cold": {"recall_at_5": torch.tensor([1.0, 0.0]).double()}},
    )
    path = write_per_user(evaluation, np.array(["ann", "bob", "cy"]), tmp_path / "per_user.parquet")
    found = pd.read_parquet(path)
    assert found["user"].tolist() == ["cy", "ann"]
    assert list(found) == ["user", "recall_at_5", "cold/recall_at_5"]
    assert found["recall_at_5"][0] == 0.5
    assert np.isnan(found["recall_at_5"][1])


def test_the_interval_is_that_of_scipy(tmp_path):
    one, other = table(0.05, 1), table(0.0, 2)
    for name, content in (("one", one), ("other", other.sample(frac=1, random_state=0))):
        content.to_parquet(tmp_path / f"{name}.parquet")
    line = compare_users(tmp_path / "one.parquet", tmp_path / "other.parquet").iloc[0]
    difference = (one["ndcg_at_5"] - other["ndcg_at_5"]).to_numpy()
    theirs = stats.bootstrap(
        (difference,), np.mean, n_resamples=10_000, method="percentile", rng=0
    ).confidence_interval
    error = difference.std() / N**0.5
    assert line["difference"] == pytest.approx(difference.mean())
    assert line["low"] == pytest.approx(theirs.low, abs=0.1 * error)
    assert line["high"] == pytest.approx(theirs.high, abs=0.1 * error)
    # With this many users the mean is close to normal.
    assert line["p"] == pytest.approx(stats.ttest_1samp(difference, 0).pvalue, abs=0.02)
    assert line["users"] == N


def test_the_same_seed_draws_the_same_and_another_does_not():
    one, other = table(0.01, 1), table(0.0, 2)
    first, again, second = (compare_users(one, other, draws=200, seed=s) for s in (0, 0, 1))
    assert first.equals(again)
    assert first["low"][0] != second["low"][0]


def test_drawn_means_are_those_of_the_drawn_users():
    values = torch.randn(9, 2, dtype=torch.float64)
    there = (torch.rand(9, 2) < 0.7).double()
    there[0] = 1
    found = drawn_means(values * there, there, 20, seed=4)
    who = torch.randint(9, (20, 9), generator=torch.Generator().manual_seed(4))
    wanted = (values * there)[who].sum(1) / there[who].sum(1)
    torch.testing.assert_close(found, wanted, equal_nan=True)


def test_like_models_do_not_differ():
    line = compare_users(table(0.0, 1), table(0.0, 1), draws=100).iloc[0]
    assert (line["difference"], line["low"], line["high"], line["p"]) == (0, 0, 0, 1)


def test_users_without_a_metric_are_left_out_of_it():
    one, other = table(0.2, 1), table(0.0, 1)
    one["cold/recall_at_5"] = other["cold/recall_at_5"] = np.nan
    one.loc[:3, "cold/recall_at_5"], other.loc[:3, "cold/recall_at_5"] = 1.0, 0.5
    found = compare_users(one, other, draws=100).set_index("metric")
    assert found.loc["cold/recall_at_5", "users"] == 4
    assert found.loc["cold/recall_at_5", "difference"] == 0.5


def test_what_cannot_be_compared_is_refused(tmp_path):
    one = table(0.0, 1)
    with pytest.raises(DataError, match="10 users are in one of the two alone, such as u190"):
        compare_users(one, table(0.0, 1, users=190))
    with pytest.raises(DataError, match="user u0 twice"):
        compare_users(pd.concat([one, one[:1]]), one)
    with pytest.raises(DataError, match="no column 'user'"):
        compare_users(one, one.rename(columns={"user": "who"}))
    with pytest.raises(ConfigError, match="no 'map_at_5' in both"):
        compare_users(one, one, ["map_at_5"])
    with pytest.raises(ConfigError, match="confidence 1"):
        compare_users(one, one, confidence=1)
    with pytest.raises(DataError, match="have 'ndcg_at_5' in one of the two alone"):
        compare_users(one, one.assign(ndcg_at_5=[np.nan] + [0.5] * (N - 1)))
    with pytest.raises(MissingFileError, match=r"no file at .*none\.parquet"):
        compare_users(tmp_path / "none.parquet", one)
    (tmp_path / "text.parquet").write_text("no parquet")
    with pytest.raises(DataError, match="no Parquet file"):
        compare_users(tmp_path / "text.parquet", one)
