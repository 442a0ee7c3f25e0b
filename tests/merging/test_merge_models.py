"""Models of one architecture become one: what is averaged, what is copied, what is refused."""

import pytest
import torch
from merge_samples import _Normed, made

import mmfuse
from mmfuse import DataSpec, FusionModel, ModalitySpec, TargetSpec
from mmfuse.errors import CheckpointError, ConfigError, MissingFileError
from mmfuse.fusion import ConcatFusion, GatedFusion
from mmfuse.merging import Ingredient, interpolate, slerp, uniform
from mmfuse.merging.ingredient import blend, gather
from mmfuse.missing import MCAR
from mmfuse.recorded import describe
from mmfuse_encoders import LinearEncoder


@pytest.fixture
def models():
    return [made(seed) for seed in range(3)]


def same(first, second):
    a, b = first.state_dict(), second.state_dict()
    return first.spec == second.spec and all(torch.equal(a[k], b[k]) for k in a)


def test_every_tensor_is_the_weighted_sum(models):
    weights = [0.5, 0.2, 0.3]
    merged = uniform(models, weights).state_dict()
    for name, value in merged.items():
        parts = [w * m.state_dict()[name].double() for w, m in zip(weights, models, strict=True)]
        assert torch.allclose(value.double(), sum(parts), atol=1e-7)


def test_equal_weights_are_the_default_and_any_order_gives_the_same(models):
    first, second = uniform(models), uniform(models[::-1])
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-7)


@pytest.mark.parametrize("path", [interpolate, slerp])
def test_the_ends_of_a_path_are_its_models_statistics_included(path):
    ends = made(0, mean=(0.0, 1.0, 2.0)), made(1, mean=(5.0, 5.0, 5.0))
    assert same(path(*ends, 0), ends[0])
    assert same(path(*ends, 1), ends[1])
    middle = path(*ends, 0.25)
    assert middle.spec.modalities["a"].mean == pytest.approx((1.25, 2.0, 2.75))
    assert middle.standardise["a"].mean.tolist() == pytest.approx([1.25, 2.0, 2.75])


@pytest.mark.parametrize("weights", [None, [0.1, 0.2, 0.7], [0.0, 0.5, 0.5]])
def test_merging_a_model_with_itself_changes_nothing(weights):
    model = made(0, mean=(0.1, 0.2, 0.3))
    assert same(uniform([model, model, model], weights), model)
    assert same(slerp(model, model, 0.3), model)


def test_models_and_paths_may_be_mixed_and_no_input_changes(models, tmp_path):
    path = mmfuse.save(models[1], tmp_path / "b.ckpt")
    before = [m.state_dict()["heads.y.weight"].clone() for m in models]
    assert same(uniform([models[0], path]), uniform(models[:2]))
    assert all(
        torch.equal(b, m.state_dict()["heads.y.weight"])
        for b, m in zip(before, models, strict=True)
    )


@pytest.mark.parametrize("weights", [None, [0.1, 0.2, 0.7]])
def test_what_is_skipped_is_the_first_models_unscaled(models, weights):
    # Scaling it on the way would leave 16/27 of it, of three models a third each.
    merged = uniform(models, weights, skip=["heads.*", "*.bias"]).state_dict()
    first = models[0].state_dict()
    for name, value in merged.items():
        skipped = name.startswith("heads.") or name.endswith(".bias")
        assert torch.equal(value, first[name]) == skipped, name


def test_a_pattern_that_matches_nothing_names_what_there_is(models):
    with pytest.raises(ConfigError, match=r"'head\.\*'.*heads\.y"):
        uniform(models, skip=["head.*"])


def test_whole_numbers_are_copied_not_averaged():
    pair = [made(s, encoder=_Normed) for s in (0, 1)]
    pair[1].encoders["a"].norm.num_batches_tracked.fill_(10)
    found = [interpolate(*pair, share).encoders["a"].norm.num_batches_tracked for share in (0.4, 1)]
    assert [int(n) for n in found] == [0, 10]


def test_the_mean_of_a_regression_target_moves_with_the_weights():
    def model(mean):
        target = TargetSpec("regression", mean=(mean,), std=(2.0,))
        spec = DataSpec({"a": ModalitySpec.of(3)}, {"y": target})
        return FusionModel(spec, {"a": LinearEncoder(3, 4)}, ConcatFusion({"a": 4}))

    merged = uniform([model(10.0), model(20.0)])
    assert merged.spec.targets["y"].mean == (15.0,)
    assert merged.spec.targets["y"].std == (2.0,)


def test_models_of_other_modalities_are_refused_by_their_names():
    spec = DataSpec({"b": ModalitySpec.of(3)}, {"y": TargetSpec("regression")})
    other = FusionModel(spec, {"b": LinearEncoder(3, 4)}, ConcatFusion({"b": 4}))
    with pytest.raises(CheckpointError, match=r"model 2 reads \['b'\].*--method lego"):
        uniform([made(0), other])


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (lambda: made(1, fusion=GatedFusion), r"fusion\.class_path: .*Concat.*Gated"),
        (lambda: made(1, hidden=7), r"fusion\.init_args\.hidden"),
        (lambda: made(1, classes=("green", "red")), r"targets\.y\.classes"),
        (lambda: made(1, mean=(0.0, 0.0, 0.0)), r"mean has 0 numbers in one and 3"),
    ],
)
def test_models_that_differ_are_refused_with_what_differs(other, told, tmp_path):
    path = mmfuse.save(other(), tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match=rf"other\.ckpt is of another model than .*{told}"):
        uniform([made(0), path])


def test_another_order_of_modalities_is_refused():
    def ordered(*names):
        torch.manual_seed(0)
        spec = DataSpec({m: ModalitySpec.of(3) for m in names})
        encoders = {m: LinearEncoder(3, 4) for m in names}
        return FusionModel(spec, encoders, ConcatFusion(dict.fromkeys(names, 4)))

    with pytest.raises(CheckpointError, match="fusion order"):
        uniform([ordered("a", "b"), ordered("b", "a")])


def test_tensors_of_other_shapes_under_one_description_are_refused(models):
    content = Ingredient.of(models[1])
    state = {**content.state, "model.heads.y.bias": torch.zeros(5)}
    broken = Ingredient("broken.ckpt", content.about, state)
    with pytest.raises(CheckpointError, match=r"heads\.y\.bias has shape \(2,\) in one and \(5,\)"):
        uniform([models[0], broken])
    del state["model.heads.y.bias"]
    with pytest.raises(CheckpointError, match=r"only one has heads\.y\.bias"):
        uniform([models[0], broken])


def test_a_diverged_model_is_refused(models):
    with torch.no_grad():
        models[1].heads["y"].bias[0] = float("nan")
    with pytest.raises(CheckpointError, match=r"model 2 holds NaN in model\.heads\.y\.bias"):
        uniform(models)


def test_training_options_may_differ():
    pair = made(0, dropout=0.1), made(1, dropout=0.5)
    assert uniform(pair).fusion.mix[2].p == 0.1


def test_too_few_models_and_shares_out_of_range_are_refused(models):
    with pytest.raises(ConfigError, match=r"1 model\(s\) to merge"):
        uniform(models[:1])
    with pytest.raises(ConfigError, match=r"share of the second model is 1\.5"):
        interpolate(*models[:2], 1.5)
    with pytest.raises(MissingFileError):
        uniform([models[0], "nowhere.ckpt"])


def test_a_saved_merge_says_what_it_is_made_of(models, tmp_path):
    merged = blend(gather([mmfuse.save(m, tmp_path / f"{i}.ckpt") for i, m in enumerate(models)]))
    path = merged.save(tmp_path / "soup.ckpt")
    assert same(mmfuse.load(path), uniform(models))
    record = mmfuse.checkpoint.read(path)["mmfuse"]["merged"]
    assert record["method"] == "uniform"
    assert [p.rpartition("/")[2] for p in record["of"]] == ["0.ckpt", "1.ckpt", "2.ckpt"]
    again = uniform([path, models[0]])  # a merged model is a model like any other
    assert not again.training


def test_absence_in_training_is_told_of_all(models):
    found = gather(models)
    about = {**found[1].about, "missing": describe(MCAR(0.5))}
    merged = blend([found[0], Ingredient("b", about, found[1].state), found[2]])
    assert merged.about["missing"] == [None, describe(MCAR(0.5))]
    assert merged.about["modality_dropout"] is None


def test_what_objectives_learned_is_averaged_where_all_have_it(models):
    first, second, third = gather(models)
    shared = {"objectives.0.weight": torch.zeros(2), "objectives.1.scale": torch.ones(1)}
    pair = [
        Ingredient("a", first.about, {**first.state, **shared}),
        Ingredient("b", second.about, {**second.state, "objectives.0.weight": torch.ones(2)}),
    ]
    state = blend(pair).state
    assert state["objectives.0.weight"].tolist() == [0.5, 0.5]
    assert state["objectives.1.scale"].tolist() == [1.0]
    assert "objectives.0.weight" not in blend([third, pair[1]]).state
