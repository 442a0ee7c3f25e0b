"""The decomposition through clusters: planted structure, intervals, controls and bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmfuse.errors import ConfigError, DataError
from mmfuse.robustness.interactions import cluster_sweep, discretised_pid, pid


@pytest.fixture
def blobs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two features around corners of their own, the label their XOR."""
    draw = np.random.default_rng(0)
    bit1, bit2 = draw.integers(0, 2, (2, 600))
    x1 = draw.normal(size=(600, 8)) + 8 * bit1[:, None]
    x2 = draw.normal(size=(600, 6)) - 8 * bit2[:, None]
    return x1, x2, bit1 ^ bit2


def test_clusters_find_planted_synergy(blobs):
    found = discretised_pid(*blobs, clusters=2, bootstrap=20)
    assert found.pid.parts == pytest.approx((0, 0, 0, 1), abs=0.02)
    assert found.low[3] > 0.9
    assert found.joint.sum() == 600


def test_the_same_seed_gives_the_same_numbers(blobs):
    x1, x2, y = blobs
    one, two = (discretised_pid(x1, x2, y, 7, bootstrap=5, seed=3) for _ in range(2))
    assert (one.pid, one.low, one.chance) == (two.pid, two.low, two.chance)
    assert (one.codes1 == two.codes1).all()


def test_discrete_modalities_keep_their_values():
    draw = np.random.default_rng(1)
    x1, x2 = draw.integers(0, 3, (2, 200))
    y = (x1 + x2) % 3
    table = np.zeros((3, 3, 3))
    np.add.at(table, (x1, x2, y), 1)
    found = discretised_pid(torch.tensor(x1), x2, y, bootstrap=0, shuffles=0)
    assert found.pid == pid(table)
    assert np.isnan([*found.low, *found.high, *found.chance]).all()


def test_labels_may_be_words():
    x = np.array([0, 0, 1, 1])
    found = discretised_pid(x, [5, 6, 5, 6], ["no", "no", "yes", "yes"], bootstrap=0)
    assert found.pid.parts == pytest.approx((0, 1, 0, 0), abs=1e-6)


def test_many_clusters_of_few_rows_look_synergistic_and_chance_says_so():
    draw = np.random.default_rng(2)
    x1, x2 = draw.normal(size=(2, 300, 4))
    found = discretised_pid(x1, x2, draw.integers(0, 2, 300), 20, bootstrap=0)
    assert found.pid.synergy > 0.4
    assert found.chance[3] == pytest.approx(found.pid.synergy, abs=0.1)


@pytest.mark.slow
def test_intervals_hold_the_truth_about_as_often_as_they_say():
    draw = np.random.default_rng(3)
    p = draw.dirichlet(np.ones(18)).reshape(3, 3, 2)
    held = np.zeros(4)
    for seed in range(30):
        x1, x2, y = np.unravel_index(draw.choice(18, 400, p=p.ravel()), p.shape)
        found = discretised_pid(x1, x2, y, bootstrap=60, shuffles=0, seed=seed)
        truth = np.array(pid(p).parts)
        held += (np.array(found.low) <= truth) & (truth <= found.high)
    assert (held >= 24).all()  # 95 % of 30 are 28.5; fewer than 24 have probability 0.0006


def test_rows_average_to_the_parts(blobs):
    found = discretised_pid(*blobs, clusters=5, bootstrap=0)
    rows = found.per_row()
    assert rows.shape == (600, 4)
    assert rows.mean(0) == pytest.approx(found.pid.parts, abs=1e-6)


def test_a_sweep_has_a_line_for_each_number_and_part(blobs):
    table = cluster_sweep(*blobs, clusters=(2, 4), bootstrap=5)
    assert list(table["clusters"]) == [2] * 4 + [4] * 4
    single = discretised_pid(*blobs, clusters=4, bootstrap=5)
    assert tuple(table["bits"][4:]) == single.pid.parts
    assert tuple(table["low"][4:]) == single.low


def test_lengths_that_differ_are_refused():
    with pytest.raises(DataError, match="x1 has 4 rows, x2 3 and y 4"):
        discretised_pid(np.ones(4), np.ones(3), np.ones(4))


@pytest.mark.parametrize("y", [[0.5, 1.5, 2.0], [np.nan, 1.0, 1.0], [[0], [1], [1]]])
def test_labels_that_are_no_classes_are_refused(y):
    with pytest.raises(DataError, match="no classes"):
        discretised_pid(np.ones(3), np.ones(3), y)


@pytest.mark.parametrize("x", [[np.nan, 1.0, 1.0], [], np.ones((3, 2, 2))])
def test_features_with_gaps_or_without_rows_are_refused(x):
    with pytest.raises(DataError, match="x1"):
        discretised_pid(x, np.ones(3), np.ones(3))


def test_no_clusters_are_refused(blobs):
    with pytest.raises(ConfigError, match="0 clusters"):
        discretised_pid(*blobs, clusters=0)
