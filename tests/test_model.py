import json

import pytest
import torch
from torch import nn

from mmfuse import Batch, DataSpec, Encoder, FusionModel, ModalitySpec, TargetSpec, Tokens
from mmfuse.errors import CheckpointError, ConfigError, DataError, UnknownModalityError
from mmfuse.fusion import ConcatFusion, LateMeanFusion, SequentialFusion
from mmfuse_encoders import LinearEncoder, MLPEncoder

NAN = float("nan")
WIDTHS = {"a": 3, "b": 4}
TARGETS = {
    "kind": TargetSpec("multiclass", ("red", "green", "blue")),
    "size": TargetSpec("regression", width=2),
}


class _Watched(Encoder):
    """Keeps what it was shown."""

    def __init__(self, spec, out_dim=3):
        super().__init__(spec, out_dim)
        self.seen = []

    def forward(self, x):
        self.seen.append(x)
        return x


def spec_of(targets=TARGETS, **modalities):
    shapes = modalities or WIDTHS
    return DataSpec({m: ModalitySpec.of(s) for m, s in shapes.items()}, targets)


@pytest.fixture
def make():
    def build(fusion=ConcatFusion, spec=None, **options):
        torch.manual_seed(0)
        spec = spec or spec_of()
        encoders = {m: MLPEncoder(s, out_dim=8) for m, s in spec.modalities.items()}
        model = FusionModel(spec, encoders, fusion(dict.fromkeys(encoders, 8), **options))
        nn.init.normal_(model.fusion.prior)
        return model.eval()

    return build


def rows(present, **inputs):
    here = torch.tensor(present)
    draw = torch.Generator().manual_seed(1)
    given = {m: torch.randn(len(here), d, generator=draw) for m, d in WIDTHS.items()} | inputs
    return Batch(tuple(WIDTHS), given, here)


# Absence.


def test_an_encoder_sees_only_the_rows_that_have_its_modality():
    spec = spec_of(a=3, b=4)
    encoders = {"a": _Watched(3), "b": LinearEncoder(4, out_dim=3)}
    model = FusionModel(spec, encoders, ConcatFusion({"a": 3, "b": 3}))
    batch = rows([[True, True], [False, True], [True, False]])
    tokens = model.encode(batch)
    (seen,) = encoders["a"].seen
    assert torch.equal(seen, batch.inputs["a"][[0, 2]])
    assert torch.equal(tokens["a"].values[[0, 2], 0], batch.inputs["a"][[0, 2]])
    assert tokens["a"].mask.squeeze(1).tolist() == [True, False, True]
    assert tokens["a"].values[1].abs().sum() == 0


def test_an_encoder_does_not_run_for_a_modality_that_no_row_has():
    encoders = {"a": _Watched(3), "b": LinearEncoder(4, out_dim=3)}
    model = FusionModel(spec_of(), encoders, ConcatFusion({"a": 3, "b": 3}))
    absent = rows([[False, True]] * 2)
    assert set(model.encode(absent)) == {"b"}
    assert encoders["a"].seen == []
    left_out = Batch(("a", "b"), {"b": absent.inputs["b"]}, absent.present)
    assert torch.equal(model(left_out).logits["kind"], model(absent).logits["kind"])


def test_ragged_input_is_selected_by_row_too():
    spec = spec_of(pulse=(None, 2))

    class Steps(Encoder):
        kinds = frozenset({"series"})

        def forward(self, x):
            return Tokens(x.values, x.mask)

    model = FusionModel(spec, {"pulse": Steps((None, 2), 2)}, ConcatFusion({"pulse": 2}))
    mask = torch.tensor([[True, True], [True, True], [True, False]])
    values = torch.arange(12.0).view(3, 2, 2)
    present = torch.tensor([[True], [False], [True]])
    found = model.encode(Batch(("pulse",), {"pulse": Tokens(values, mask)}, present))["pulse"]
    assert found.mask.tolist() == [[True, True], [False, False], [True, False]]
    assert torch.equal(found.values[[0, 2]], values[[0, 2]])


@pytest.mark.parametrize("fusion", [ConcatFusion, SequentialFusion, LateMeanFusion])
def test_a_row_with_nothing_present_is_read_from_the_prior(make, fusion):
    targets = {"kind": TARGETS["kind"]}
    model = make(fusion, spec_of(targets))
    output = model(rows([[True, True], [False, False], [False, False]]))
    expected = model.heads["kind"](model.fusion.prior)
    assert torch.equal(output.fused.vector[1], model.fusion.prior)
    torch.testing.assert_close(output.logits["kind"][1:], expected.expand(2, -1))
    assert not torch.allclose(output.logits["kind"][0], expected)


def test_a_batch_with_nothing_present_teaches_the_prior(make):
    model = make()
    model(rows([[False, False]])).logits["kind"].sum().backward()
    assert model.fusion.prior.grad.abs().sum() > 0


def test_garbage_in_an_absent_slot_changes_nothing(make):
    model = make()
    present = [[True, False], [False, True]]
    clean, spoilt = rows(present), rows(present)
    spoilt.inputs["a"][1] = NAN
    spoilt.inputs["b"][0] = 1e30
    for name, logits in model(clean).logits.items():
        assert torch.equal(model(spoilt).logits[name], logits)


# The edge: what a model refuses.


def test_encoders_and_data_must_name_the_same_modalities():
    with pytest.raises(UnknownModalityError, match=r"given for \['a'\].*data has \['a', 'b'\]"):
        FusionModel(spec_of(), {"a": MLPEncoder(3)}, ConcatFusion({"a": 64}))


@pytest.mark.parametrize("dims", [{"a": 64, "b": 32}, {"a": 64}, {"a": 64, "b": 64, "c": 64}])
def test_a_fusion_built_for_other_widths_is_refused(dims):
    encoders = {m: MLPEncoder(d) for m, d in WIDTHS.items()}
    with pytest.raises(ConfigError, match=r"ConcatFusion was built for .* the encoders give"):
        FusionModel(spec_of(), encoders, ConcatFusion(dims))


def test_every_target_needs_its_head():
    encoders = {m: MLPEncoder(d) for m, d in WIDTHS.items()}
    fusion = ConcatFusion(dict.fromkeys(WIDTHS, 64))
    with pytest.raises(ConfigError, match=r"given for \['kind'\], .* are \['kind', 'size'\]"):
        FusionModel(spec_of(), encoders, fusion, {"kind": nn.Linear(128, 3)})


def test_a_modality_that_the_model_does_not_know_is_refused_with_both_sides_shown(make):
    here = torch.ones(1, 2, dtype=torch.bool)
    batch = Batch(("a", "smell"), {"a": torch.zeros(1, 3), "smell": torch.zeros(1, 1)}, here)
    with pytest.raises(UnknownModalityError, match=r"\['smell'\].*knows \['a', 'b'\]"):
        make()(batch)


def test_the_spec_refuses_a_batch_of_another_width_or_with_nan(make):
    spec = make().spec
    with pytest.raises(DataError, match=r"\(3,\).*\(5,\)"):
        spec.check(rows([[True, True]], a=torch.zeros(1, 5)))
    with pytest.raises(DataError, match="NaN or infinity"):
        spec.check(rows([[True, True]], a=torch.full((1, 3), NAN)))


# Order.


def test_the_columns_of_present_follow_the_fusion_not_the_batch(make):
    model = make()
    batch = rows([[True, False], [True, True]])
    swapped = Batch(("b", "a"), batch.inputs, batch.present.flip(1))
    assert torch.equal(model.present(swapped), batch.present)
    assert torch.equal(model(swapped).logits["kind"], model(batch).logits["kind"])


def test_a_batch_that_lacks_a_modality_of_the_model_counts_as_absent(make):
    model, batch = make(), rows([[True, False], [True, False]])
    narrow = Batch(("a",), {"a": batch.inputs["a"]}, torch.ones(2, 1, dtype=torch.bool))
    assert torch.equal(model(narrow).logits["kind"], model(batch).logits["kind"])


def test_the_fusion_order_rules_whatever_order_encoders_were_given_in():
    encoders = {"b": MLPEncoder(4), "a": MLPEncoder(3)}
    model = FusionModel(spec_of(), encoders, ConcatFusion({"a": 64, "b": 64}))
    assert model.modalities == ("a", "b") == tuple(model.encoders)
    assert model.dims == {"a": 64, "b": 64}


# Reading.


def test_every_target_has_a_head_of_its_own(make):
    model, batch = make(), rows([[True, True]] * 3)
    output = model(batch)
    assert {t: v.shape for t, v in output.logits.items()} == {"kind": (3, 3), "size": (3, 2)}
    assert output.step_logits == {}
    with torch.no_grad():
        model.heads["size"].bias += 1
    again = model(batch)
    assert torch.equal(again.logits["kind"], output.logits["kind"])
    torch.testing.assert_close(again.logits["size"], output.logits["size"] + 1)


def test_a_sequential_model_is_read_after_every_step(make):
    model = make(SequentialFusion, out_dim=6)
    output = model(rows([[True, True], [True, False]]))
    for name, head in model.heads.items():
        steps = output.step_logits[name]
        assert steps.shape == (2, 3, model.spec.targets[name].out_dim)
        for s in range(3):
            torch.testing.assert_close(steps[:, s], head(output.fused.steps[:, s]))
        torch.testing.assert_close(steps[:, -1], output.logits[name])
        torch.testing.assert_close(steps[1, 2], steps[1, 1])


def test_a_late_model_joins_what_the_head_says_of_each_present_vote(make):
    model = make(LateMeanFusion)
    output = model(rows([[True, True], [False, True]]))
    votes = model.heads["kind"](output.fused.votes)
    torch.testing.assert_close(output.logits["kind"][0], votes[0].mean(dim=0))
    torch.testing.assert_close(output.logits["kind"][1], votes[1, 1])


def test_standardising_lives_in_the_model():
    plain = spec_of(a=3)
    moved = DataSpec({"a": ModalitySpec("vector", (3,), mean=(5.0,) * 3, std=(2.0,) * 3)}, TARGETS)
    encoder, fusion = MLPEncoder(3), ConcatFusion({"a": 64})
    heads = {t: nn.Linear(128, s.out_dim) for t, s in TARGETS.items()}
    x, here = torch.randn(2, 3), torch.ones(2, 1, dtype=torch.bool)
    expected = FusionModel(plain, {"a": encoder}, fusion, heads)(Batch(("a",), {"a": x}, here))
    model = FusionModel(moved, {"a": encoder}, fusion, heads)
    found = model(Batch(("a",), {"a": x * 2 + 5}, here))
    torch.testing.assert_close(found.logits["kind"], expected.logits["kind"])


def test_a_frozen_encoder_gets_no_gradient_and_its_neighbour_does():
    encoders = {"a": MLPEncoder(3, frozen=True), "b": MLPEncoder(4)}
    model = FusionModel(spec_of(), encoders, ConcatFusion(dict.fromkeys(WIDTHS, 64))).train()
    model(rows([[True, True]] * 2)).logits["kind"].square().sum().backward()
    assert all(p.grad is None for p in encoders["a"].parameters())
    assert all(p.grad is not None for p in encoders["b"].parameters())


# Description.


@pytest.mark.parametrize("fusion", [ConcatFusion, SequentialFusion])
def test_a_described_model_is_rebuilt_with_room_for_the_same_weights(make, fusion):
    model = make(fusion, out_dim=5)
    again = FusionModel.rebuild(json.loads(json.dumps(model.describe()))).eval()
    again.load_state_dict(model.state_dict())
    batch = rows([[True, False], [True, True], [False, False]])
    assert again.spec == model.spec
    for name, logits in model(batch).logits.items():
        assert torch.equal(again(batch).logits[name], logits)


def test_heads_of_your_own_cannot_be_described():
    encoders = {"a": MLPEncoder(3)}
    heads = {t: nn.Sequential(nn.Linear(128, s.out_dim)) for t, s in TARGETS.items()}
    model = FusionModel(spec_of(a=3), encoders, ConcatFusion({"a": 64}), heads)
    with pytest.raises(ConfigError, match="heads of your own"):
        model.describe()


def test_an_altered_description_is_refused(make):
    description = make().describe()
    description["fusion"]["class_path"] = "subprocess.Popen"
    with pytest.raises(CheckpointError, match="Popen is not a Fusion"):
        FusionModel.rebuild(description)
