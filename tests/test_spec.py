import json

import pytest
import torch

from mmfuse import Batch, DataSpec, ModalitySpec, TargetSpec, Tokens
from mmfuse.errors import DataError, UnknownModalityError

NAN, INF = float("nan"), float("inf")


@pytest.fixture
def spec():
    return DataSpec(
        {
            "vitals": ModalitySpec(
                "table",
                (3,),
                categories=(4,),
                levels=(("a", "b", "c"),),
                columns=("age", "weight", "ward"),
                mean=(1.0, 2.0),
                std=(3.0, 4.0),
            ),
            "scan": ModalitySpec.of((1, 8, 8)),
            "pulse": ModalitySpec.of((None, 2)),
            "note": ModalitySpec("text"),
        },
        {
            "dead": TargetSpec("binary", ("no", "yes"), weights=(0.5, 2.0)),
            "os": TargetSpec("survival", cuts=(1.0, 12.5)),
            "stay": TargetSpec("regression", width=2, mean=(1.0, 2.0), std=(3.0, 4.0)),
        },
    )


def batch(spec, present=True, **inputs):
    """Two rows of the named inputs, all of them present or none."""
    here = torch.full((2, len(inputs)), present)
    return Batch(tuple(inputs), inputs, here)


def test_a_spec_survives_json_whole(spec):
    assert DataSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize(
    ("given", "kind", "width"),
    [(5, "vector", 5), ((5,), "vector", 5), ((None, 7), "series", 7), ((3, 8, 9), "image", 3)],
)
def test_a_shape_tells_the_kind_and_the_width(given, kind, width):
    spec = ModalitySpec.of(given)
    assert (spec.kind, spec.width) == (kind, width)
    assert ModalitySpec.of(spec) is spec


def test_a_shape_with_four_axes_asks_for_a_spec():
    with pytest.raises(DataError, match=r"shape \(2, 3, 4, 5\) has no kind.*Give a ModalitySpec"):
        ModalitySpec.of((2, 3, 4, 5))


def test_the_numbers_of_a_table_stand_before_its_codes(spec):
    assert spec.modalities["vitals"].numeric_width == 2


def test_size_counts_the_values_of_a_row_and_refuses_an_open_axis(spec):
    assert spec.modalities["scan"].size == 64
    with pytest.raises(DataError, match="no fixed size"):
        _ = spec.modalities["pulse"].size
    with pytest.raises(DataError, match="no fixed width"):
        _ = spec.modalities["note"].width


@pytest.mark.parametrize(
    ("mean", "std"), [((0.0,), ()), ((0.0,), (0.0,)), ((0.0, 0.0), (1.0, -1.0))]
)
def test_every_mean_needs_a_positive_deviation(mean, std):
    with pytest.raises(DataError, match="one positive deviation for each mean"):
        ModalitySpec("vector", (len(mean),), mean=mean, std=std)


def test_each_kind_of_target_has_its_number_of_scores():
    three = ("x", "y", "z")
    assert TargetSpec("binary", ("no", "yes")).out_dim == 1
    assert TargetSpec("multiclass", three).out_dim == 3
    assert TargetSpec("multilabel", three).out_dim == 3
    assert TargetSpec("regression", width=4).out_dim == 4
    assert TargetSpec("survival", cuts=(1.0, 2.0)).out_dim == 2
    assert TargetSpec("survival").out_dim == 1


def test_binary_scores_become_two_probabilities():
    found = TargetSpec("binary", ("no", "yes")).predict(torch.tensor([[0.0], [2.0]]))
    high = 1 / (1 + torch.tensor(-2.0).exp())
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.5], [1 - high, high]]))


def test_multiclass_scores_share_out_one():
    found = TargetSpec("multiclass", ("x", "y")).predict(torch.tensor([[0.0, 3.0]]).log())
    torch.testing.assert_close(found, torch.tensor([[0.0, 1.0]]))


def test_multilabel_scores_are_independent():
    found = TargetSpec("multilabel", ("x", "y")).predict(torch.tensor([[0.0, 100.0]]))
    torch.testing.assert_close(found, torch.tensor([[0.5, 1.0]]))


def test_regression_scores_return_to_the_units_of_the_target(spec):
    found = spec.targets["stay"].predict(torch.tensor([[0.0, 0.0], [1.0, -1.0]]))
    assert found.tolist() == [[1.0, 2.0], [4.0, -2.0]]
    plain = TargetSpec("regression").predict(torch.tensor([[5.0]]))
    assert plain.tolist() == [[5.0]]


def test_hazards_become_a_risk_and_a_falling_curve():
    spec = TargetSpec("survival", cuts=(1.0, 2.5, 12.25))
    logits = torch.tensor([[0.0, -1.0, 2.0], [40.0, 0.0, 0.0], [-40.0, -40.0, -40.0]])
    found = spec.predict(logits)
    curve = (1 - logits.sigmoid()).cumprod(dim=1)
    assert torch.allclose(found[:, 1:], curve)
    assert torch.allclose(found[:, 0], 1 - curve.mean(dim=1))
    assert spec.outputs == ("risk", "survival_1", "survival_2.5", "survival_12.25")


def test_coxs_score_is_the_risk_itself():
    logits = torch.tensor([[0.5], [-2.0]])
    assert torch.equal(TargetSpec("survival").predict(logits), logits)
    assert TargetSpec("survival").outputs == ("risk",)


def test_neighbouring_cuts_have_names_of_their_own():
    cut = torch.tensor(17.44)
    close = (cut.item(), torch.nextafter(cut, cut + 1).item())
    assert len(set(TargetSpec("survival", cuts=close).outputs)) == 3


@pytest.mark.parametrize("cuts", [(0.0, 1.0), (2.0, 1.0), (1.0, 1.0), (1.0, float("inf"))])
def test_cuts_ascend_from_above_zero(cuts):
    with pytest.raises(DataError, match="ascending"):
        TargetSpec("survival", cuts=cuts)


def test_only_survival_has_cuts():
    with pytest.raises(DataError, match="A regression target has the cuts"):
        TargetSpec("regression", cuts=(1.0,))


def test_predict_reads_steps_as_it_reads_rows(spec):
    logits = torch.randn(2, 5, 1)
    found = spec.targets["dead"].predict(logits)
    assert found.shape == (2, 5, 2)
    torch.testing.assert_close(found[:, 3], spec.targets["dead"].predict(logits[:, 3]))


def test_a_wrong_width_shows_both_sides(spec):
    with pytest.raises(
        DataError, match=r"'vitals'.*expects table rows of shape \(3,\).*has \(5,\)"
    ):
        spec.check(batch(spec, vitals=torch.zeros(2, 5)))


def test_a_series_may_have_any_length_but_no_other_channels(spec):
    mask = torch.ones(2, 9, dtype=torch.bool)
    spec.check(batch(spec, pulse=Tokens(torch.zeros(2, 9, 2), mask)))
    with pytest.raises(DataError, match=r"\(None, 2\).*\(9, 3\)"):
        spec.check(batch(spec, pulse=Tokens(torch.zeros(2, 9, 3), mask)))


def test_an_unknown_modality_shows_both_sides(spec):
    with pytest.raises(UnknownModalityError, match=r"'smell'.*knows \['vitals', 'scan'"):
        spec.check(batch(spec, smell=torch.zeros(2, 1)))


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_nan_or_infinity_in_a_present_slot_is_refused(spec, bad):
    values = torch.zeros(2, 3)
    values[1, 2] = bad
    with pytest.raises(DataError, match="'vitals': a row that counts as present holds NaN"):
        spec.check(batch(spec, vitals=values))


def test_nan_in_an_absent_slot_or_under_padding_is_welcome(spec):
    pulse = Tokens(torch.full((2, 4, 2), NAN), torch.tensor([[True, True, False, False]] * 2))
    pulse.values[:, :2] = 0
    spec.check(batch(spec, pulse=pulse))
    spec.check(batch(spec, present=False, vitals=torch.full((2, 3), NAN)))


def test_a_present_row_without_a_real_step_is_refused(spec):
    empty = Tokens(torch.zeros(2, 4, 2), torch.tensor([[True] * 4, [False] * 4]))
    with pytest.raises(DataError, match=r"'pulse': .*no step and no token. Mark the row absent"):
        spec.check(batch(spec, pulse=empty))


def test_present_rows_without_an_input_are_refused(spec):
    with pytest.raises(DataError, match=r"'scan': rows count as present.*no input"):
        spec.check(Batch(("scan",), {}, torch.ones(2, 1, dtype=torch.bool)))


def test_an_input_with_another_number_of_rows_is_refused(spec):
    short = Batch(("vitals",), {"vitals": torch.zeros(1, 3)}, torch.zeros(2, 1).bool())
    with pytest.raises(DataError, match="has 1 rows, the batch has 2"):
        spec.check(short)


@pytest.mark.parametrize("name", ["", "a.b", "items", "training"])
@pytest.mark.parametrize("place", ["modalities", "targets"])
def test_a_name_that_torch_cannot_hold_is_refused(name, place):
    held = {
        "modalities": {name: ModalitySpec.of(1)} if place == "modalities" else {},
        "targets": {name: TargetSpec("regression")} if place == "targets" else {},
    }
    with pytest.raises(DataError, match=r"[Rr]ename"):
        DataSpec(**held)


def test_a_target_may_not_take_the_place_of_the_row_numbers():
    DataSpec({"row": ModalitySpec.of(1)})
    with pytest.raises(DataError, match=r"target cannot be called 'row'.*Rename"):
        DataSpec({}, {"row": TargetSpec("regression")})
