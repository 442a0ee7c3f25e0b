"""The neural estimator: planted structure, the exact solver beneath it, bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mmfuse.errors import ConfigError, DataError
from mmfuse.robustness.interactions import NeuralSettings, held_out_pid, neural_pid, planted
from mmfuse.robustness.interactions.coupling import coupled_information
from mmfuse.robustness.interactions.least import least_informative

QUICK = NeuralSettings(epochs=20, align_epochs=8, batch_size=128, rate=3e-3)
PARTS = ("redundancy", "unique1", "unique2", "synergy")


@pytest.mark.parametrize("interaction", PARTS)
def test_the_planted_part_is_the_largest(interaction):
    found = neural_pid(*planted(interaction, 1200), QUICK)
    assert max(PARTS, key=lambda part: getattr(found, part)) == interaction
    assert min(found.parts) >= 0
    assert found.total < 1.001  # bits of a label of two equal classes
    assert math.isnan(found.gap)


def test_modalities_that_say_nothing_have_next_to_nothing():
    x1, x2, y = planted("synergy", 1000)
    found = neural_pid(
        x1, x2, y[torch.randperm(1000, generator=torch.Generator().manual_seed(0))], QUICK
    )
    assert found.total < 0.05


def split(x1: torch.Tensor, x2: torch.Tensor, y: torch.Tensor, *ends: int) -> list:
    """Rows up to each end."""
    return [tuple(t[a:b] for t in (x1, x2, y)) for a, b in zip((0, *ends[:-1]), ends, strict=True)]


def test_what_rows_add_has_the_parts_as_its_mean_and_an_interval_around():
    found = held_out_pid(*split(*planted("unique1", 900), 500, 700, 900), QUICK, bootstrap=100)
    np.testing.assert_allclose(found.rows.mean(0), found.pid.parts, atol=1e-9)
    assert found.rows.shape == (200, 4)
    for part, low, high in zip(found.pid.parts, found.low, found.high, strict=True):
        assert low - 0.02 <= part <= high + 0.02
    assert found.low[1] > 0.2


def test_rows_in_the_order_of_their_classes_tell_as_much():
    known, chosen, read = split(*planted("unique1", 900), 400, 500, 900)
    order = read[2].argsort(stable=True)
    sorted_ = tuple(t[order] for t in read)
    parts = [held_out_pid(known, chosen, r, QUICK, 0).pid.parts for r in (read, sorted_)]
    np.testing.assert_allclose(parts[0], parts[1], atol=0.1)


def test_confidence_that_is_wrong_is_no_information():
    # As encoders show rows whose answers they have seen, and then others.
    draw = torch.Generator().manual_seed(0)
    y, guess = torch.randint(0, 2, (2, 600), generator=draw)
    seen = torch.where(torch.arange(600) < 400, y, guess)
    x1, x2 = (seen[:, None] + 0.1 * torch.randn(600, 2, generator=draw) for _ in range(2))
    found = held_out_pid(*split(x1, x2, y, 300, 400, 600), QUICK, bootstrap=0)
    assert found.pid.total < 0.05


def batch(size: int = 10, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    scores = 2 * torch.randn(2, size, classes, generator=draw, dtype=torch.float64)
    return tuple(scores.log_softmax(2))


def least(log1: torch.Tensor, log2: torch.Tensor) -> float:
    """Nats of the least informative coupling of the same margins."""
    first, second = (log.exp().numpy() / len(log) for log in (log1, log2))
    second = second * first.sum(0) / second.sum(0)
    share = first.sum(0)
    uncertainty = least_informative(first, second).uncertainty
    return float(-(share * np.log(share)).sum() - uncertainty * math.log(2))


def test_no_alignment_says_less_than_the_exact_coupling():
    log1, log2 = batch()
    exact = least(log1, log2)
    for seed in range(5):
        affinity = torch.randn(3, 10, 10, generator=torch.Generator().manual_seed(seed))
        assert coupled_information(affinity.double(), log1, log2) > exact - 1e-3


def test_a_free_alignment_finds_the_exact_coupling():
    log1, log2 = batch()
    affinity = torch.zeros(3, 10, 10, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([affinity], 0.1)
    for _ in range(150):
        optimizer.zero_grad()
        found = coupled_information(affinity, log1, log2)
        found.backward()
        optimizer.step()
    assert float(found.detach()) == pytest.approx(least(log1, log2), abs=0.01)


def test_the_same_seed_gives_the_same_parts_and_leaves_the_global_one():
    x1, x2, y = planted("unique1", 200)
    short = NeuralSettings(epochs=2, align_epochs=1, batch_size=64)
    before = torch.get_rng_state()
    assert neural_pid(x1, x2, y, short).parts == neural_pid(x1, x2, y, short).parts
    assert torch.equal(before, torch.get_rng_state())


def test_planted_classes_are_of_equal_size_and_follow_the_seed():
    x1, x2, y = planted("redundancy", 300, classes=3, width=8, seed=4)
    assert x1.shape == x2.shape == (300, 8)
    assert y.bincount().tolist() == [100] * 3
    assert torch.equal(x1, planted("redundancy", 300, classes=3, width=8, seed=4)[0])
    with pytest.raises(ConfigError, match="'both'"):
        planted("both", 10)


X, Y = torch.zeros(30, 2), torch.arange(30) % 2


@pytest.mark.parametrize(
    ("x1", "x2", "y"),
    [
        (X, X[:29], Y),
        (X, X, Y.float()),
        (X, X.index_fill(0, torch.tensor([0]), torch.nan), Y),
        (X[:10], X[:10], Y[:10]),
        (X, X, Y - 1),
    ],
    ids=["lengths", "values", "nan", "few", "unknown"],
)
def test_rows_that_do_not_fit_are_refused(x1, x2, y):
    with pytest.raises(DataError):
        neural_pid(x1, x2, y)


def test_no_epochs_are_refused():
    with pytest.raises(ConfigError, match="below 1"):
        neural_pid(X, X, Y, NeuralSettings(epochs=0))


def test_rows_of_other_widths_are_refused():
    with pytest.raises(DataError, match="to read have other widths"):
        held_out_pid((X, X, Y), (X, X, Y), (X[:, :1], X, Y))
    with pytest.raises(DataError, match="to choose of shapes"):
        held_out_pid((X, X, Y), (X[:2], X[:2], Y[:2]), (X, X, Y))
