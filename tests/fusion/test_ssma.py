import pytest
import torch
from fusion_equations import norm

from mmfuse.errors import ConfigError
from mmfuse.fusion import SSMAFusion
from mmfuse.tokens import Tokens


def test_the_gate_scales_every_feature_before_the_mix(sample, agrees):
    fusion = SSMAFusion(sample.dims, out_dim=6, reduction=2)
    squeeze, _, excite = fusion.gate

    def equation(row):
        zeros = {m: torch.zeros(d, dtype=torch.float64) for m, d in sample.dims.items()}
        x = zeros | {m: v.mean(dim=0) for m, v in row.items()}
        joined = torch.cat([x[m] for m in sample.dims])
        here = torch.tensor([float(m in row) for m in sample.dims]).double()
        gate = excite(squeeze(torch.cat([joined, here])).clamp(min=0)).sigmoid()
        return norm(fusion.mix.weight @ (joined * gate), fusion.norm)

    assert squeeze.out_features == 6
    agrees(fusion, equation)


def test_gates_lie_between_zero_and_one(sample, shake):
    weights = shake(SSMAFusion(sample.dims))(sample.tokens, sample.present).weights
    assert ((weights > 0) & (weights < 1))[sample.present].all()
    assert (weights[~sample.present] == 0).all()


def test_a_zero_last_gate_layer_gives_gates_of_one_half(sample):
    fusion = SSMAFusion(sample.dims).double()
    torch.nn.init.zeros_(fusion.gate[-1].weight)
    torch.nn.init.zeros_(fusion.gate[-1].bias)
    weights = fusion(sample.tokens, sample.present).weights
    assert (weights[sample.present] == 0.5).all()


def test_the_gate_tells_an_absent_modality_from_one_that_is_zero(shake):
    fusion = shake(SSMAFusion({"a": 8, "b": 8}, reduction=2))
    a, b = torch.randn(1, 8).double(), torch.zeros(1, 8).double()
    tokens = {"a": Tokens.of(a), "b": Tokens.of(b)}
    both = fusion(tokens, torch.tensor([[True, True]]))
    alone = fusion(tokens, torch.tensor([[True, False]]))
    assert not torch.allclose(both.weights[:, 0], alone.weights[:, 0])


def test_training_rows_do_not_depend_on_their_neighbours(sample):
    fusion = SSMAFusion(sample.dims).double().train()
    whole = fusion(sample.tokens, sample.present).vector
    some = sample.rows(torch.tensor([7, 3]))
    torch.testing.assert_close(fusion(some.tokens, some.present).vector, whole[[7, 3]])


def test_a_reduction_below_one_is_refused():
    with pytest.raises(ConfigError, match="reduction is 0"):
        SSMAFusion({"a": 2}, reduction=0)
