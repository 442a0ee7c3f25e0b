"""One lost, blocks, clusters and bursts do what their definitions say."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfuse import ArrayData
from mmfuse.errors import ConfigError, DataError
from mmfuse.missing import MCAR, BlockMCAR, Bursts, ClusterMCAR, Missingness, OneLost
from mmfuse.missing.hashing import uniform


@pytest.fixture(scope="session")
def rows_in_order(make_rows):
    return make_rows()


def correlations(lost: torch.Tensor) -> np.ndarray:
    return np.corrcoef(lost.double().numpy().T)


# One lost.


@given(rate=st.floats(0, 1), seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_a_share_of_the_rows_loses_exactly_one(rows_in_order, assert_share, rate, seed):
    lost = ~OneLost(rate, seed=seed).keep(rows_in_order)
    assert set(lost.sum(dim=1).tolist()) <= {0, 1}
    assert_share(lost.any(dim=1), rate, sigma=4)


def test_weights_split_what_is_lost(rows_in_order, assert_share):
    lost = ~OneLost(0.8, {"image": 3.0, "text": 1.0}).keep(rows_in_order)
    assert_share(lost[:, 0], 0.6)
    assert not lost[:, 1].any()
    assert_share(lost[:, 2], 0.2)


def test_a_row_without_one_of_them_loses_another_by_its_weight(rows_in_order, assert_share):
    present = torch.ones_like(rows_in_order.present)
    present[:, 0] = False
    lost = ~OneLost(1.0, {"image": 6.0, "sound": 3.0, "text": 1.0}).keep(
        replace(rows_in_order, present=present)
    )
    assert not lost[:, 0].any()
    assert_share(lost[:, 1], 0.75)


def test_a_row_that_has_one_modality_keeps_it_unless_told_otherwise(rows_in_order):
    present = torch.zeros_like(rows_in_order.present)
    present[:, 1] = True
    alone = replace(rows_in_order, present=present)
    assert OneLost(1.0).keep(alone).all()
    assert torch.equal(~OneLost(1.0, keep_one=False).keep(alone), present)


@pytest.mark.parametrize("weights", [{}, {"image": 0.0}, {"image": -1.0}, {"image": math.nan}])
def test_weights_that_choose_nothing_are_refused(weights):
    with pytest.raises(ConfigError, match="weights of OneLost"):
        OneLost(0.5, weights)


# Blocks.


@pytest.mark.parametrize("rate", [0.2, 0.6])
@pytest.mark.parametrize("correlation", [0.0, 0.4, 1.0])
def test_modalities_of_a_block_are_lost_with_the_stated_correlation(
    rows_in_order, assert_share, rate, correlation
):
    lost = ~BlockMCAR(rate, [["image", "text"]], correlation, keep_one=False).keep(rows_in_order)
    for column in lost.unbind(dim=1):
        assert_share(column, rate)
    found = correlations(lost)
    assert found[0, 2] == pytest.approx(correlation, abs=4 / math.sqrt(len(rows_in_order)))
    assert abs(found[0, 1]) < 4 / math.sqrt(len(rows_in_order))


def test_a_whole_block_goes_at_once(rows_in_order):
    lost = ~BlockMCAR(0.5, [["image", "text"], ["sound"]]).keep(rows_in_order)
    is_broken_up = lost[:, 0] != lost[:, 2]
    # Only where the row lost everything, of which one was given back.
    assert lost[is_broken_up].sum(dim=1).eq(2).all()
    kept = BlockMCAR(0.5, [["image", "text"], ["sound"]], keep_one=False).keep(rows_in_order)
    assert not kept[is_broken_up].any()


def test_what_a_lost_block_gets_back_favours_no_modality(rows_in_order, assert_share):
    kept = BlockMCAR(1.0).keep(rows_in_order)
    assert kept.sum(dim=1).eq(1).all()
    for column in kept.unbind(dim=1):
        assert_share(column, 1 / 3)


def test_a_modality_in_two_blocks_is_refused():
    with pytest.raises(ConfigError, match=r"\['a'\] stand in two blocks"):
        BlockMCAR(0.5, [["a", "b"], ["a"]])


# Clusters.


def test_a_cluster_loses_a_modality_as_a_whole_or_not_at_all(make_rows, assert_share):
    facts = make_rows(clusters=400)
    lost = ~ClusterMCAR({"image": 0.3, "sound": 0.6}, keep_one=False).keep(facts)
    shares = torch.stack([lost[facts.cluster == c].double().mean(dim=0) for c in range(400)])
    assert set(shares.unique().tolist()) == {0.0, 1.0}
    assert_share(shares[:, 0], 0.3)
    assert_share(shares[:, 1], 0.6)
    assert not lost[:, 2].any()


def test_a_row_of_no_known_cluster_loses_nothing(rows_in_order):
    unknown = replace(rows_in_order, cluster=torch.full_like(rows_in_order.index, -1))
    assert ClusterMCAR(1.0).keep(unknown).all()


def test_data_without_clusters_are_refused(rows_in_order):
    with pytest.raises(DataError, match="Give the data `groups`"):
        ClusterMCAR(0.5).keep(rows_in_order)


# Bursts.


def runs(lost: torch.Tensor) -> np.ndarray:
    """Lengths of the runs of True, the first and last left out, which may be cut short."""
    edges = np.flatnonzero(np.diff(np.r_[0, lost.int().numpy(), 0]))
    return np.diff(edges)[::2][1:-1]


@pytest.mark.parametrize(("rate", "length"), [(0.3, 5.0), (0.5, 2.0), (0.7, 12.0), (0.1, 60.0)])
def test_bursts_have_the_stated_rate_and_mean_length(make_rows, rate, length):
    lost = ~Bursts(rate, length, keep_one=False).keep(make_rows(200_000))
    found = runs(lost[:, 0])
    # A geometric length's deviation is below its mean.
    assert found.mean() == pytest.approx(length, abs=4 * length / math.sqrt(len(found)))
    # Neighbours depend on each other: about 2 x length rows say as much as one.
    error = math.sqrt(rate * (1 - rate) * 2 * length / len(lost))
    assert lost.double().mean(dim=0).numpy() == pytest.approx(rate, abs=4 * error)


def test_lengths_of_bursts_are_geometric(make_rows):
    found = runs(~Bursts(0.4, 4.0, keep_one=False).keep(make_rows(200_000))[:, 1])
    for length in (1, 2, 3, 6):
        wanted = 0.25 * 0.75 ** (length - 1)
        error = math.sqrt(wanted / len(found))
        assert (found == length).mean() == pytest.approx(wanted, abs=4 * error)


def test_the_shortest_bursts_are_independent_rows(rows_in_order):
    lost = ~Bursts(0.5, 2.0, keep_one=False).keep(rows_in_order)[:, 0]
    both = (lost[1:] & lost[:-1]).double().mean()
    assert both == pytest.approx(0.25, abs=0.01)


def test_bursts_of_modalities_are_independent_of_each_other(make_rows):
    lost = ~Bursts(0.4, 5.0, keep_one=False).keep(make_rows(100_000))
    assert np.abs(correlations(lost) - np.eye(3)).max() < 4 * math.sqrt(10 / 100_000)


def test_a_chain_step_by_step_gives_the_same_bursts(make_rows):
    simulator = Bursts(0.4, 9.0, seed=5, keep_one=False)
    rows = torch.arange(-500, 300)
    renewal = uniform(5, rows, "text", "renewal") < simulator.renewal
    number = uniform(5, rows, "text", "bursts")
    state, states = 1.0, []
    for draws_anew, drawn in zip(renewal.tolist(), number.tolist(), strict=True):
        state = drawn if draws_anew else state
        states.append(state < 0.4)
    found = ~simulator.keep(make_rows(300))[:, 2]
    assert found.tolist() == states[500:]


def test_a_modality_given_back_stays_as_long_as_the_burst(make_rows):
    facts = make_rows(20_000)
    kept = Bursts(0.9, 200.0).keep(facts)
    changes = (kept[1:] != kept[:-1]).any(dim=1).double().mean()
    assert changes < 0.05
    assert kept.any(dim=1).all()


def test_bursts_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match="never ends"):
        Bursts(1.0)
    with pytest.raises(ConfigError, match="at least 10 rows"):
        Bursts(0.9, 9.0)
    Bursts(0.9, 10.0)
    with pytest.raises(ConfigError, match="length of Bursts is nan"):
        Bursts(0.5, math.nan)


# All of them.


def at(rate: float) -> list[Missingness]:
    return [OneLost(rate), BlockMCAR(rate, correlation=0.5), ClusterMCAR(rate)]


@pytest.mark.parametrize("which", range(3))
def test_a_higher_rate_takes_all_that_a_lower_one_takes(make_rows, which):
    facts = make_rows(5000, natural=0.7, clusters=200)
    kept = [facts.present & at(r)[which].keep(facts) for r in (0.9, 0.6, 0.3, 0.0)]
    for fewer, more in itertools.pairwise(kept):
        assert not (fewer & ~more).any()


@pytest.mark.parametrize(
    "simulator",
    [MCAR(0.4), OneLost(0.6), BlockMCAR(0.4, correlation=0.5), Bursts(0.4, 5.0)],
    ids=lambda s: type(s).__name__,
)
def test_what_is_lost_completely_at_random_depends_on_no_label_and_no_value(
    rows_in_order, simulator
):
    lost = (~simulator.keep(rows_in_order)).double()
    other = replace(
        rows_in_order, group=rows_in_order.group.flip(0), value=rows_in_order.value.flip(0)
    )
    assert torch.equal((~simulator.keep(other)).double(), lost)
    seen = torch.cat([rows_in_order.group[:, None].double(), rows_in_order.value.double()], dim=1)
    found = np.corrcoef(lost.numpy().T, seen.numpy().T)[:3, 3:]
    assert np.abs(found).max() < 4 / math.sqrt(len(rows_in_order))


@given(
    size=st.integers(1, 400),
    seed=st.integers(0, 10_000),
    which=st.sampled_from(["one", "block", "cluster", "bursts"]),
)
@settings(max_examples=30, deadline=None)
def test_a_mask_is_the_same_whatever_the_batches_and_their_order(make_rows, size, seed, which):
    facts = make_rows(400, natural=0.8, seed=seed, clusters=7)
    simulator = {
        "one": OneLost(0.5, seed=seed),
        "block": BlockMCAR(0.5, correlation=0.3, seed=seed),
        "cluster": ClusterMCAR(0.5, seed=seed),
        "bursts": Bursts(0.5, 8.0, seed=seed),
    }[which]
    whole = simulator.keep(facts)
    order = torch.randperm(400, generator=torch.Generator().manual_seed(seed))
    parts = [simulator.keep(facts.rows(part)) for part in order.split(size)]
    assert torch.equal(torch.cat(parts), whole[order])


def test_the_data_s_groups_are_the_clusters():
    speakers = np.repeat(["ann", "bob", "cy", "dee"], 10)
    values = np.arange(80.0).reshape(40, 2)
    data = ArrayData(
        {"image": values, "sound": -values},
        np.arange(40) % 2,
        groups=speakers,
        missing=ClusterMCAR({"image": 0.5}, seed=1),
        val=0,
        test=0.5,
    )
    facts = data.facts("train")
    lost = ~data.dataset("train").__getitems__(facts.index).present[:, 0]
    for cluster in facts.cluster.unique():
        assert len(lost[facts.cluster == cluster].unique()) == 1
    assert len({speakers[i] for i in facts.index}) == len(facts.cluster.unique()) == 2
    assert ArrayData({"image": values}, val=0).facts("train").cluster is None
