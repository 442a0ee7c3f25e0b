import pytest
import torch
from fusion_equations import outer

from mmfuse.errors import ConfigError
from mmfuse.fusion import LowRankTensorFusion, TensorFusion
from mmfuse.tokens import Tokens


def full_weight(fusion):
    """The weight tensor ``(D, d_1 + 1, ..., d_M + 1)`` that the factors stand for."""
    terms = []
    for d in range(fusion.out_dim):
        term = 0
        for r, weight in enumerate(fusion.rank_weights):
            place = r * fusion.out_dim + d
            factors = [
                torch.cat([f.bias[place, None], f.weight[place]]) for f in fusion.factors.values()
            ]
            term = term + weight * outer(factors)
        terms.append(term)
    return torch.stack(terms).detach()


def test_it_equals_the_full_tensor_with_the_low_rank_weight(sample, agrees):
    fusion = LowRankTensorFusion(sample.dims, out_dim=3, rank=2)
    one = torch.ones(1).double()

    def equation(row):
        zeros = {m: torch.zeros(d).double() for m, d in sample.dims.items()}
        x = zeros | {m: v.mean(dim=0) for m, v in row.items()}
        tensor = outer([torch.cat([one, x[m]]) for m in sample.dims])
        return torch.einsum("dabc,abc->d", full_weight(fusion), tensor) + fusion.bias

    agrees(fusion, equation)


def test_tensor_fusion_can_be_given_the_same_weight(sample, shake):
    low = shake(LowRankTensorFusion(sample.dims, out_dim=3, rank=2))
    full = TensorFusion(sample.dims, out_dim=3, width=None).double()
    with torch.no_grad():
        full.mix.weight.copy_(full_weight(low).flatten(1))
        full.mix.bias.copy_(low.bias)
        full.prior.copy_(low.prior)
    torch.testing.assert_close(
        full(sample.tokens, sample.present).vector, low(sample.tokens, sample.present).vector
    )


def test_a_product_of_many_modalities_neither_vanishes_nor_explodes_at_first():
    torch.manual_seed(0)
    dims = {f"m{i}": 32 for i in range(12)}
    tokens = {m: Tokens.of(torch.randn(64, d)) for m, d in dims.items()}
    vector = LowRankTensorFusion(dims)(tokens, torch.ones(64, 12).bool()).vector
    assert 0.1 < vector.std() < 100


def test_a_rank_below_one_is_refused():
    with pytest.raises(ConfigError, match="rank is 0"):
        LowRankTensorFusion({"a": 2}, rank=0)
