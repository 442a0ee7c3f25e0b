"""What validation scores choose: a point of a path, the members of a soup."""

import math

import numpy as np
import pytest
import torch
from merge_samples import _Normed, made

from mmfuse import ArrayData, Batch
from mmfuse.errors import ConfigError, DataError
from mmfuse.merging import ValidationScore, curve, greedy_soup, interpolate, uniform


def bias(model):
    return float(model.heads["y"].bias[0].detach())


def with_bias(value):
    model = made(0)
    with torch.no_grad():
        model.heads["y"].bias.fill_(value)
    return model


def near(wanted):
    """A score that is best where the model's bias is a number."""
    return lambda model: -abs(bias(model) - wanted)


def test_the_best_point_of_the_path_is_chosen():
    found = curve(with_bias(0.0), with_bias(10.0), near(3.0))
    assert found.weights == pytest.approx((0.7, 0.3))
    assert bias(found.model) == pytest.approx(3.0)
    assert found.table["share"].tolist() == pytest.approx([i / 10 for i in range(11)])
    assert found.table["score"].tolist() == pytest.approx([-abs(i - 3) for i in range(11)])
    assert found.table.loc[found.table["is_chosen"], "share"].tolist() == [0.3]


def test_a_score_to_be_low_is_minimised_and_undefined_points_are_passed_by():
    def loss(model):
        return math.nan if bias(model) < 5 else bias(model)

    found = curve(with_bias(0.0), with_bias(10.0), loss, [0, 0.5, 1], higher_is_better=False)
    assert found.weights == (0.5, 0.5)


def test_of_equal_scores_the_one_nearest_to_the_middle_is_chosen():
    found = curve(with_bias(0.0), with_bias(10.0), lambda model: 1.0, [0.0, 0.4, 0.8, 1.0])
    assert found.weights[1] == 0.4


def test_the_chosen_model_is_that_of_the_path():
    pair = made(0), made(1)
    for method in ("interpolate", "slerp"):
        found = curve(*pair, near(bias(pair[1])), [0, 0.9, 1], method=method)
        wanted = pair[1].state_dict()
        assert all(torch.equal(v, wanted[k]) for k, v in found.model.state_dict().items())


def test_a_curve_without_a_defined_score_or_a_share_is_refused():
    with pytest.raises(DataError, match="defined score"):
        curve(made(0), made(1), lambda model: math.nan)
    with pytest.raises(ConfigError, match="needs shares"):
        curve(made(0), made(1), bias, [])
    with pytest.raises(ConfigError, match="expected interpolate or slerp"):
        curve(made(0), made(1), bias, method="uniform")


def test_a_soup_takes_in_whoever_does_not_hurt_from_the_best_down():
    # Best alone: 4; then 7 (mean 5.5, better), 2 (mean 4.33, worse), 9 (mean 6.67, worse).
    models = [with_bias(b) for b in (2.0, 9.0, 4.0, 7.0)]
    found = greedy_soup(models, near(5.4))
    assert found.table["model"].tolist() == ["model 3", "model 4", "model 1", "model 2"]
    assert found.table["is_kept"].tolist() == [True, True, False, False]
    assert found.table["size"].tolist() == [1, 2, 3, 3]
    assert found.table["score"].tolist() == pytest.approx([-1.4, -0.1, -5.4 + 13 / 3, -38 / 30])
    assert found.weights == (0, 0, 0.5, 0.5)
    assert bias(found.model) == pytest.approx(5.5)


def test_a_soup_keeps_a_model_that_changes_nothing_as_the_paper_does():
    found = greedy_soup([made(0), made(0), made(0)], lambda model: 0.9)
    assert found.table["is_kept"].all()
    assert sum(found.weights) == pytest.approx(1)


@pytest.mark.parametrize("seed", range(5))
def test_a_soup_is_never_worse_than_its_best_model_on_the_rows_that_choose(seed):
    draw = np.random.default_rng(seed)
    models = [with_bias(float(b)) for b in draw.normal(size=6)]
    score = near(float(draw.normal()))
    assert score(greedy_soup(models, score).model) >= max(map(score, models)) - 1e-6


def test_a_soup_of_a_loss_and_of_undefined_scores():
    def loss(model):
        return math.nan if bias(model) > 8 else abs(bias(model) - 3.0)

    models = [with_bias(9.0), with_bias(2.0), with_bias(4.0)]
    found = greedy_soup(models, loss, higher_is_better=False)
    assert found.weights == (0, 0.5, 0.5)
    with pytest.raises(DataError, match="No model has a defined score"):
        greedy_soup(models, lambda model: math.nan)


def test_what_is_skipped_in_a_soup_is_the_best_models():
    models = [with_bias(b) for b in (2.0, 4.0)]
    found = greedy_soup(models, near(4.0), skip=["heads.y.bias"])
    assert found.weights == (0.5, 0.5)
    assert bias(found.model) == 4.0


def test_mixtures_take_running_statistics_anew_and_ends_do_not():
    pair = [made(s, encoder=_Normed) for s in (0, 1)]
    inputs = {"a": torch.randn(8, 3) + 5, "b": torch.randn(8, 2)}
    batches = [Batch(("a", "b"), inputs, torch.ones(8, 2).bool())]
    seen = []

    def score(model):
        seen.append(model.encoders["a"].norm.running_mean.clone())
        return len(seen) == 2

    found = curve(*pair, score, [0, 0.5, 1], batches=batches)
    assert torch.equal(seen[0], pair[0].encoders["a"].norm.running_mean)
    assert torch.equal(seen[2], pair[1].encoders["a"].norm.running_mean)
    mixed = interpolate(*pair, 0.5).encoders["a"]
    assert torch.allclose(seen[1], mixed.map(inputs["a"]).mean(0), atol=1e-5)
    assert torch.equal(found.model.encoders["a"].norm.running_mean, seen[1])


def data(**kwargs):
    draw = np.random.default_rng(0)
    label = np.arange(60) % 2
    inputs = {"a": draw.normal(label[:, None], 1, (60, 3)), "b": draw.normal(size=(60, 2))}
    return ArrayData(inputs, np.where(label, "green", "red"), **kwargs)


def test_a_validation_score_is_the_metric_on_the_validation_rows():
    rows = data()
    model = made(0, classes=("red", "green"))
    found = ValidationScore(data(target_kinds={"y": "multiclass"}), "accuracy")(model)
    loader = rows.loader("val")
    right = [
        (model(batch).logits["y"].argmax(1) == 1 - batch.target["y"]).float() for batch in loader
    ]
    assert found == pytest.approx(torch.cat(right).mean().item())


def test_scores_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match="Did you mean 'accuracy'"):
        ValidationScore(data(), "acuracy")
    with pytest.raises(ConfigError, match="Unknown target 'z'"):
        ValidationScore(data(), target="z")
    with pytest.raises(DataError, match="no validation rows"):
        ValidationScore(data(val=0.0))
    with pytest.raises(ConfigError, match="device"):
        ValidationScore(data(), device="nowhere")
    no_target = ArrayData({"a": np.random.default_rng(0).normal(size=(20, 3))})
    with pytest.raises(DataError, match="no target"):
        ValidationScore(no_target)


def test_uniform_needs_no_data_and_equals_the_middle_of_the_path():
    pair = made(0), made(1)
    ours, theirs = uniform(pair).state_dict(), interpolate(*pair, 0.5).state_dict()
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)
