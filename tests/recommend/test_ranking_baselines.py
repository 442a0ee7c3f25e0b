"""Baselines beside their definitions, and under the protocol of the task."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from graphs_small import dense, lists

from mmfuse.errors import ConfigError
from mmfuse.recommend import Interactions
from mmfuse.recommend.baselines import ItemKNN, Popularity


def everyone(baseline):
    users = torch.arange(7).double()[:, None]
    return baseline.score(users, torch.arange(9).double()[:, None])


def test_popularity_is_the_number_of_users():
    expected = dense(lists()).sum(0).expand(7, -1)
    assert torch.equal(everyone(Popularity(lists())), expected)


@pytest.mark.parametrize("k", [1, 2, 50])
def test_item_knn_sums_over_what_a_user_took(k):
    taken = dense(lists())
    together, count = taken.T @ taken, taken.sum(0)
    alike = torch.zeros(9, 9, dtype=torch.float64)
    for j in range(9):
        others = [i for i in range(9) if i != j and together[j, i] > 0]
        for i in sorted(others, key=lambda i: (-together[j, i].item(), i))[:k]:
            alike[j, i] = together[j, i] / math.sqrt(count[j] * count[i])
    found = everyone(ItemKNN(lists(), k))
    torch.testing.assert_close(found, taken @ alike, atol=1e-6, rtol=1e-6)
    assert not found[6].any()  # who took nothing is like nobody


def test_what_was_taken_in_training_is_left_out():
    train = lists()
    users, items = train.pairs()
    wanted = torch.tensor([0, 1])
    new = torch.tensor([8, 8])
    interactions = Interactions(
        torch.cat([users, wanted]),
        torch.cat([items, new]),
        torch.cat([torch.zeros(len(users)), torch.tensor([2, 2])]).long(),
        np.arange(7),
        np.arange(9),
    )
    found = Popularity(train).evaluate(interactions, ks=(9,))
    assert found.codes.tolist() == [0, 1]
    assert found.means()["recall_at_9"] == 1
    for user in (0, 1):  # the other one may still be shown it
        assert (found.exposure.counts[items[users == user]] < 2).all()


def test_no_neighbour_is_refused():
    with pytest.raises(ConfigError, match="k is 0"):
        ItemKNN(lists(), 0)
