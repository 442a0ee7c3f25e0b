"""What imputers fill in, against slow references, scikit-learn's among them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.linear_model import Ridge

from mmfuse.errors import ConfigError, DataError
from mmfuse.fusion.imputers import (
    CascadeImputer,
    KNNImputer,
    MeanImputer,
    MixtureImputer,
    PlaceholderImputer,
    PrototypeImputer,
    RidgeImputer,
)
from mmfuse.fusion.imputers.clusters import k_means, shared_distance

DIMS = {"a": 3, "b": 4, "c": 2}
COLUMNS = [0, 0, 0, 1, 1, 1, 1, 2, 2]
FITTED = (MeanImputer, RidgeImputer, KNNImputer, PrototypeImputer, MixtureImputer)


@pytest.fixture
def rows():
    """Correlated vectors of 60 rows, and gaps in 40 of them."""
    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn(60, 3, generator=draw, dtype=torch.float64)
    mix = torch.randn(3, 9, generator=draw, dtype=torch.float64)
    x = hidden @ mix + 0.3 * torch.randn(60, 9, generator=draw, dtype=torch.float64) + 5
    present = torch.rand(60, 3, generator=draw) < 0.7
    present[:20] = True
    return x * torch.linspace(0.1, 10, 9, dtype=torch.float64), present


def built(imputer, x=None, present=None):
    imputer.build(DIMS)
    imputer.double()
    if x is not None:
        imputer.fit(x, present)
    return imputer.eval()


def blanked(x, present):
    return x.masked_fill(~present[:, COLUMNS], 0)


def slow_standards(x, present):
    """Each column's mean and deviation over the rows that have its modality."""
    mean, std = [], []
    for d, m in enumerate(COLUMNS):
        values = [float(x[i, d]) for i in range(len(x)) if present[i, m]]
        mean.append(sum(values) / len(values))
        std.append(math.sqrt(sum((v - mean[-1]) ** 2 for v in values) / len(values)))
    return x.new_tensor(mean), x.new_tensor(std)


def slow_distance(one, here, other, there):
    """Mean over shared modalities of the mean squared difference of their columns."""
    parts = []
    for m in range(3):
        if here[m] and there[m]:
            gaps = [(one[d] - other[d]) ** 2 for d in range(9) if COLUMNS[d] == m]
            parts.append(sum(gaps) / len(gaps))
    return float(sum(parts) / len(parts)) if parts else math.inf


def test_the_mean_is_of_the_rows_that_have_the_modality(rows):
    x, present = rows
    found = built(MeanImputer(), x, present)(blanked(x, present), present)
    mean, _ = slow_standards(x, present)
    absent = ~present[:, COLUMNS]
    torch.testing.assert_close(found[absent], mean.expand_as(x)[absent])


@pytest.mark.parametrize("pattern", [(1, 0, 0), (0, 1, 1), (1, 1, 0), (0, 0, 1)])
def test_ridge_is_scikit_learns_for_every_pattern(rows, pattern):
    x, _ = rows
    everyone = torch.ones(60, 3, dtype=torch.bool)
    imputer = built(RidgeImputer(penalty=2.0), x, everyone)
    present = torch.tensor(pattern).bool().expand(60, 3)
    found = imputer(blanked(x, present), present)
    mean, std = slow_standards(x, everyone)
    z = ((x - mean) / std).numpy()
    here = np.array([pattern[m] == 1 for m in COLUMNS])
    model = Ridge(alpha=2.0, fit_intercept=False).fit(z[:, here], z[:, ~here])
    expected = model.predict(z[:, here]) * std.numpy()[~here] + mean.numpy()[~here]
    np.testing.assert_allclose(found.numpy()[:, ~here], expected, rtol=1e-9)


def test_ridge_of_incomplete_rows_knows_only_pairs_that_are_there(rows):
    x, present = rows
    garbage = x.masked_fill(~present[:, COLUMNS], 1e6)
    one, other = built(RidgeImputer(), x, present), built(RidgeImputer(), garbage, present)
    assert torch.equal(one.correlation, other.correlation)
    assert torch.linalg.eigvalsh(one.correlation).min() > -1e-9
    complete = built(RidgeImputer(), x, torch.ones_like(present)).correlation
    assert (one.correlation - complete).abs().max() < 0.5


def test_rows_of_several_patterns_are_solved_as_if_alone(rows):
    x, present = rows
    imputer = built(RidgeImputer(), x, present)
    together = imputer(blanked(x, present), present)
    for i in range(60):
        alone = imputer(blanked(x, present)[[i]], present[[i]])
        torch.testing.assert_close(alone[0], together[i])


def test_neighbours_are_the_nearest_rows_that_have_the_modality(rows):
    x, present = rows
    imputer = built(KNNImputer(k=4), x, present)
    mean, std = slow_standards(x, present)
    z = (x - mean) / std
    asked = torch.tensor([[True, False, True], [False, True, False], [False, False, True]])
    asked = asked.repeat(5, 1)
    query = x[:15] + 0.5
    found = imputer(blanked(query, asked), asked)
    for i in range(15):
        one = (query[i] - mean) / std
        for m in range(3):
            near = sorted(
                (slow_distance(one, asked[i], z[j], present[j]), j)
                for j in range(60)
                if present[j, m]
            )
            chosen = [j for distance, j in near[:4] if distance < math.inf]
            for d in (d for d in range(9) if COLUMNS[d] == m):
                expected = sum(float(z[j, d]) for j in chosen) / len(chosen) * std[d] + mean[d]
                torch.testing.assert_close(found[i, d], expected)


def test_without_a_row_that_shares_anything_the_mean_stands_in():
    x = torch.arange(18, dtype=torch.float64).view(2, 9)
    present = torch.tensor([[True, False, False], [False, True, True]])
    imputer = built(KNNImputer(), x, present)
    asked = torch.tensor([[True, False, False]])
    found = imputer(blanked(x[:1], asked), asked)
    torch.testing.assert_close(found[0, 3:], x[1, 3:])  # the one row's own, which is the mean


def test_no_more_rows_than_the_limit_are_kept_the_same_at_every_fit(rows):
    kept = [built(KNNImputer(limit=7, seed=3), *rows).rows for _ in range(2)]
    assert kept[0].shape == (7, 9)
    assert torch.equal(*kept)


def test_prototypes_of_complete_rows_are_k_means_centres(rows):
    x, _ = rows
    near = torch.cat([x * 0.01 + shift for shift in (0, 100, -300)])
    everyone = torch.ones(len(near), 3, dtype=torch.bool)
    imputer = built(PrototypeImputer(count=3), near, everyone)
    mean, std = slow_standards(near, everyone)
    expected = KMeans(3, n_init=5, random_state=0).fit(((near - mean) / std).numpy())
    found = sorted(imputer.centres.tolist())
    np.testing.assert_allclose(found, sorted(expected.cluster_centers_.tolist()), rtol=1e-6)


def test_a_row_gets_the_columns_of_the_prototype_that_is_nearest_by_what_it_has(rows):
    x, present = rows
    imputer = built(PrototypeImputer(count=4), x, present)
    mean, std = slow_standards(x, present)
    z, found = (x - mean) / std, imputer(blanked(x, present), present)
    everywhere = [True] * 3
    for i in range(60):
        if not present[i].any():
            continue
        near = [slow_distance(z[i], present[i], c, everywhere) for c in imputer.centres]
        expected = imputer.centres[near.index(min(near))] * std + mean
        torch.testing.assert_close(found[i], expected)


def test_a_centre_is_the_mean_of_its_rows_where_they_have_the_modality(rows):
    x, present = rows
    columns = torch.tensor(COLUMNS)
    z = blanked(x - x.mean(dim=0), present)
    centres = k_means(z, present, columns, 5, seed=0)
    everywhere = torch.ones(5, 3, dtype=torch.bool)
    nearest = shared_distance(z, present, centres, everywhere, columns).argmin(dim=1)
    for k in range(5):
        for d in range(9):
            mine = [i for i in range(60) if nearest[i] == k and present[i, COLUMNS[d]]]
            expected = sum(float(z[i, d]) for i in mine) / max(len(mine), 1)
            assert centres[k, d] == pytest.approx(expected)


def test_more_centres_than_rows_are_as_many_as_rows():
    z = torch.eye(3, 9, dtype=torch.float64)
    z[2] = z[1]  # and two rows are alike
    everyone = torch.ones(3, 3, dtype=torch.bool)
    assert len(k_means(z, everyone, torch.tensor(COLUMNS), 8, seed=0)) == 3


def test_the_mixture_is_convex_in_the_priors(rows):
    x, present = rows
    imputer = built(MixtureImputer(count=4), x, present)
    found = imputer(blanked(x, present), present)
    mean, std = slow_standards(x, present)
    z = blanked((x - mean) / std, present)
    for i in range(5):
        read = torch.cat([z[i], present[i].double()])
        scores = (imputer.weigh.weight @ read + imputer.weigh.bias).tolist()
        for d in range(9):
            amounts = [math.log1p(math.exp(scores[4 * COLUMNS[d] + k])) for k in range(4)]
            mixed = sum(a * imputer.priors[k, d] for k, a in enumerate(amounts)) / sum(amounts)
            expected = mixed * std[d] + mean[d]
            torch.testing.assert_close(found[i, d].detach(), expected)


def test_the_mixture_draws_its_weights_in_training_alone(rows):
    x, present = rows
    imputer = built(MixtureImputer(), x, present)
    given = blanked(x, present), present
    assert torch.equal(imputer(*given), imputer(*given))
    imputer.train()
    assert not torch.equal(imputer(*given), imputer(*given))
    quiet = built(MixtureImputer(noise=0.0), x, present).train()
    assert torch.equal(quiet(*given), quiet(*given))


def test_each_autoencoder_corrects_what_those_before_it_made(rows):
    x, present = rows
    imputer = built(CascadeImputer(hidden=(6, 2), blocks=3))
    found = imputer(blanked(x, present), present)
    for i in range(5):
        row = blanked(x, present)[i]
        for block in imputer.cascade.blocks:
            inner = torch.cat([row, present[i].double()])
            maps = [layer for layer in block if isinstance(layer, torch.nn.Linear)]
            for k, layer in enumerate(maps):
                inner = layer.weight @ inner + layer.bias
                inner = inner if k == len(maps) - 1 else inner.clamp(min=0)
            assert [layer.out_features for layer in maps] == [6, 2, 6, 9]
            row = row + inner
        torch.testing.assert_close(found[i], row)


def test_the_placeholder_is_one_vector_for_all(rows):
    x, present = rows
    imputer = built(PlaceholderImputer())
    assert torch.equal(imputer(x, present), imputer.vectors.expand(60, 9))


@pytest.mark.parametrize("make", FITTED)
def test_what_was_learned_of_the_rows_is_in_the_state(make, rows):
    x, present = rows
    imputer = built(make(), x, present)
    fresh = built(make())
    fresh.load_state_dict(imputer.state_dict())
    given = blanked(x, present), present
    assert torch.equal(fresh(*given), imputer(*given))


@pytest.mark.parametrize("make", FITTED)
def test_a_fit_reads_no_absent_column_and_forgets_the_last_one(make, rows):
    x, present = rows
    imputer = built(make(), x, present)
    before = {n: b.clone() for n, b in imputer.named_buffers()}
    imputer.fit(x[:30] * 2, present[:30])
    imputer.fit(x.masked_fill(~present[:, COLUMNS], torch.nan), present)
    assert all(torch.equal(b, before[n]) for n, b in imputer.named_buffers())


@pytest.mark.parametrize("make", FITTED)
def test_use_before_a_fit_says_what_to_do(make, rows):
    with pytest.raises(ConfigError, match=r"has not seen the training rows.*fit_imputer"):
        built(make())(*rows)


@pytest.mark.parametrize("make", FITTED)
def test_rows_that_say_nothing_are_refused(make, rows):
    x, present = rows
    with pytest.raises(DataError, match="none with a modality"):
        built(make()).fit(x, present & False)
    with pytest.raises(DataError, match="not finite"):
        built(make()).fit(x.masked_fill(x == x[0, 0], torch.inf), present)


@given(seed=st.integers(0, 1000), count=st.integers(1, 12))
@pytest.mark.parametrize("make", FITTED)
def test_few_rows_and_columns_that_do_not_vary_give_finite_numbers(make, seed, count):
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 9, generator=draw, dtype=torch.float64)
    x[:, 4] = 7.0
    present = torch.rand(count, 3, generator=draw) < 0.5
    present[0, 0] = True
    imputer = built(make(), x, present)
    found = imputer(blanked(x, present), present)
    assert found.isfinite().all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: RidgeImputer(penalty=0),
        lambda: KNNImputer(k=0),
        lambda: KNNImputer(limit=0),
        lambda: PrototypeImputer(count=0),
        lambda: MixtureImputer(count=0),
        lambda: MixtureImputer(noise=-1),
        lambda: CascadeImputer(blocks=0),
        lambda: CascadeImputer(hidden=()),
        lambda: CascadeImputer(hidden=(4, 0)),
    ],
)
def test_options_that_mean_nothing_are_refused(make):
    with pytest.raises(ConfigError, match="expected"):
        make()


def test_a_record_tells_imputers_apart():
    assert "k=3" in repr(KNNImputer(k=3))
