"""Importance row by row: literal sums, controls whose importance is known, many modalities."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from mmfuse import Batch, DataSpec, FusionModel, ModalitySpec, TargetSpec
from mmfuse.errors import ConfigError, DataError
from mmfuse.fusion.base import Fused, Fusion, pooled
from mmfuse.robustness import (
    RowScores,
    item_types,
    mean_importance,
    mean_interactions,
    permutation_importance,
    row_importance,
    row_scores,
)
from mmfuse.tokens import Tokens
from mmfuse_encoders import MLPEncoder


class OfSome(Fusion):
    """The sum of every modality but the last, squashed so that modalities interact."""

    def fuse(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        parts = list(pooled(tokens).values())
        return Fused(torch.stack(parts[:-1]).sum(0).tanh())


@pytest.fixture
def blind(make_model: Callable[[type[Fusion]], FusionModel]) -> FusionModel:
    """A model that ignores modality c."""
    model = make_model(OfSome)
    torch.nn.init.zeros_(model.fusion.prior)
    return model


def scores_of(values: Mapping[str, list[float]], names: str) -> RowScores:
    value = {frozenset(s): np.array(v) for s, v in values.items()}
    return RowScores(tuple(names), np.arange(len(next(iter(value.values())))), value)


def test_scores_are_the_probabilities_of_the_truth_under_each_subset(model, batches, rows):
    found = row_scores(model, batches)
    assert len(found.value) == 8
    order = rows.index.argsort()
    label = rows.target["kind"][order]
    for subset, value in found.value.items():
        keep = torch.tensor([m in subset for m in model.modalities])
        with torch.no_grad():
            kept = rows.keep(rows.present & keep)
            share = model.eval()(kept).logits["kind"].softmax(1)[order]
        wanted = share[label >= 0, label[label >= 0]]
        np.testing.assert_allclose(value, wanted.numpy(), atol=1e-6)
    np.testing.assert_array_equal(found.rows, rows.index[order][label >= 0])


@pytest.mark.parametrize(
    ("target", "score"),
    [("kind", "correct"), ("ill", "log_likelihood"), ("tags", "probability"), ("size", None)],
)
def test_readings_are_zero_for_a_modality_that_the_model_ignores(blind, batches, target, score):
    table = row_importance(row_scores(blind, batches, score, target))
    ignored = table[table["modality"] == "c"].drop(columns=["row", "modality", "mis"])
    np.testing.assert_allclose(ignored, 0, atol=1e-5)  # float32
    assert table[table["modality"] == "a"]["leave_one_out"].abs().max() > 0 or score == "correct"
    lost = permutation_importance(blind, batches, score, target, draws=2)
    assert (lost[lost["modality"] == "c"]["loss"] == 0).all()


def test_readings_are_literal_differences_of_means():
    names = "abc"
    draw = np.random.default_rng(0)
    subsets = [s for k in range(4) for s in itertools.combinations(names, k)]
    scores = scores_of({"".join(s): list(draw.normal(size=5)) for s in subsets}, names)
    table = row_importance(scores).set_index(["row", "modality"])
    value = scores.value
    for i, m in itertools.product(range(5), names):
        holding = [v[i] for s, v in value.items() if m in s]
        without = [v[i] for s, v in value.items() if s and m not in s]
        line = table.loc[(i, m)]
        assert line["mis"] == pytest.approx(np.mean(holding) - np.mean(without))
        nobody = value[frozenset()][i]
        assert line["banzhaf"] == pytest.approx(np.mean(holding) - np.mean([*without, nobody]))
        full = value[frozenset(names)][i]
        assert line["leave_one_out"] == pytest.approx(full - value[frozenset(names) - {m}][i])
        assert line["alone"] == pytest.approx(value[frozenset(m)][i] - value[frozenset()][i])
    gain = value[frozenset(names)] - value[frozenset()]
    np.testing.assert_allclose(table["shapley"].groupby("row").sum(), gain)


def test_a_copied_modality_shares_the_credit_and_its_loss_costs_nothing():
    scores = scores_of({"": [0.0], "a": [1.0], "b": [1.0], "ab": [1.0]}, "ab")
    table = row_importance(scores)
    assert list(table["shapley"]) == [0.5, 0.5]
    assert list(table["leave_one_out"]) == [0, 0]
    assert mean_interactions(scores, 0)["value"].item() == -1


def test_means_and_intervals_are_those_of_the_rows(model, batches):
    scores = row_scores(model, batches)
    table = mean_importance(scores, bootstrap=400)
    rows = row_importance(scores).groupby("modality")
    for reading in ("mis", "banzhaf", "shapley", "leave_one_out", "alone"):
        line = table[table["reading"] == reading].set_index("modality")
        np.testing.assert_allclose(line["value"], rows[reading].mean(), atol=1e-12)
        half = 1.96 * rows[reading].std() / np.sqrt(len(scores.rows))
        np.testing.assert_allclose((line["high"] - line["low"]) / 2, half, rtol=0.25, atol=1e-9)


def test_an_only_modality_has_no_other_to_be_compared_with():
    scores = scores_of({"": [0.0, 0.0], "a": [1.0, 0.5]}, "a")
    table = row_importance(scores)
    assert table["mis"].isna().all()
    assert list(table["shapley"]) == [1.0, 0.5]
    with pytest.raises(ConfigError, match="two modalities"):
        mean_interactions(scores)


@pytest.fixture
def twelve() -> tuple[FusionModel, Batch]:
    names = [f"m{k}" for k in range(12)]
    spec = DataSpec(
        {m: ModalitySpec.of(2) for m in names}, {"y": TargetSpec("multiclass", classes=("n", "y"))}
    )
    torch.manual_seed(0)
    encoders = {m: MLPEncoder(2, out_dim=4) for m in names}
    model = FusionModel(spec, encoders, OfSome(dict.fromkeys(names, 4), out_dim=4))
    inputs = {m: torch.randn(30, 2) for m in names}
    there = torch.ones(30, 12, dtype=torch.bool)
    label = torch.arange(30) % 2
    return model, Batch(tuple(names), inputs, there, {"y": label}, torch.arange(30))


def test_twelve_modalities_are_estimated_from_sampled_orders(twelve):
    model, batch = twelve
    scores = row_scores(model, [batch], orders=10)
    assert len(scores.orders) == 10
    assert len(scores.value) < 300
    table = mean_importance(scores, bootstrap=50).query("reading == 'shapley'")
    gain = (scores.value[frozenset(model.modalities)] - scores.value[frozenset()]).mean()
    assert table["value"].sum() == pytest.approx(gain)
    assert (table["low"] <= table["high"]).all()
    last = table[table["modality"] == "m11"]
    assert abs(last["value"].item()) < 1e-6
    assert row_importance(scores)[["mis", "banzhaf"]].isna().all(axis=None)
    met = mean_interactions(scores, bootstrap=20).set_index(["first", "second"])
    assert len(met) == 66
    with_last = met[met.index.get_level_values("second") == "m11"]["value"].dropna()
    np.testing.assert_allclose(with_last, 0, atol=1e-6)


def test_all_subsets_can_be_had_of_more_modalities_than_the_default(twelve):
    model, batch = twelve
    few = row_scores(model, [batch.rows(torch.arange(2))], limit=12)
    assert len(few.value) == 2**12
    assert few.orders == ()


@pytest.mark.parametrize(
    ("right", "wanted"),
    [
        ({"a": 1, "b": 1, "ab": 1}, "agnostic"),
        ({"a": 1, "b": 0, "ab": 1}, "biased to a"),
        ({"a": 0, "b": 1, "ab": 1}, "biased to b"),
        ({"a": 0, "b": 0, "ab": 1}, "complementary"),
        ({"a": 1, "b": 0, "ab": 0}, "conflicting"),
        ({"a": 0, "b": 0, "ab": 0}, "unsolved"),
    ],
)
def test_items_are_typed_by_the_subsets_that_are_right(right, wanted):
    scores = scores_of({"": [1.0], **{s: [float(v)] for s, v in right.items()}}, "ab")
    assert item_types(scores).tolist() == [wanted]


def test_types_need_scores_of_right_and_wrong(model, batches):
    assert item_types(row_scores(model, batches, "correct")).notna().all()
    with pytest.raises(ConfigError, match="correct"):
        item_types(row_scores(model, batches))


def test_permutation_takes_the_same_modality_from_other_rows(blind, rows, batches):
    table = permutation_importance(blind, batches, draws=1).set_index(["row", "modality"])
    again = permutation_importance(blind, batches[::-1], draws=1).set_index(["row", "modality"])
    np.testing.assert_allclose(table["loss"], again.loc[table.index, "loss"], atol=1e-6)
    lacking = rows.index[~rows.present[:, 0] & (rows.target["kind"] >= 0)].tolist()
    assert (table.loc[[(i, "a") for i in lacking], "loss"] == 0).all()
    having = rows.index[rows.present[:, 0] & (rows.target["kind"] >= 0)].tolist()
    assert (table.loc[[(i, "a") for i in having], "loss"] != 0).all()


def test_permutation_within_a_class_of_one_row_loses_nothing(blind, rows):
    target = {**rows.target, "kind": torch.arange(60).clamp(max=2)}
    batch = Batch(rows.modalities, rows.inputs, torch.ones_like(rows.present), target, rows.index)
    table = permutation_importance(blind, [batch], within_class=True).set_index("row")["loss"]
    assert (table.loc[rows.index[:2].tolist()] == 0).all()
    assert table.loc[rows.index[2:].tolist()].abs().max() > 0


@pytest.mark.parametrize("work", [row_scores, permutation_importance])
def test_bad_requests_are_refused(work, model, batches, rows):
    with pytest.raises(ConfigError, match="no target 'age'"):
        work(model, batches, target="age")
    with pytest.raises(ConfigError, match="regression"):
        work(model, batches, "correct", "size")
    with pytest.raises(DataError, match="no batch"):
        work(model, [])
    nobody = {**rows.target, "kind": torch.full((60,), -1)}
    batch = Batch(rows.modalities, rows.inputs, rows.present, nobody, rows.index)
    with pytest.raises(DataError, match="label"):
        work(model, [batch])


def test_survival_is_referred_to_the_scores_of_all_rows(batches):
    spec = DataSpec({"a": ModalitySpec.of(3)}, {"t": TargetSpec("survival", cuts=(1.0,))})
    fusion = OfSome({"a": 4}, out_dim=4)
    model = FusionModel(spec, {"a": MLPEncoder(3, out_dim=4)}, fusion)
    with pytest.raises(ConfigError, match="survival"):
        row_scores(model, batches)


def test_permutation_within_class_needs_classes(model, batches):
    with pytest.raises(ConfigError, match="regression"):
        permutation_importance(model, batches, target="size", within_class=True)
