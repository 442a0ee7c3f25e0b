import pytest
import torch
from fusion_equations import outer

from mmfuse.errors import ConfigError
from mmfuse.fusion import TensorFusion


@pytest.mark.parametrize("width", [2, None])
def test_the_vector_reads_every_product_of_features(width, sample, agrees):
    fusion = TensorFusion(sample.dims, out_dim=6, width=width)
    one = torch.ones(1).double()

    def equation(row):
        factors = []
        for m, d in sample.dims.items():
            absent = torch.zeros(width or d).double()
            vector = fusion.project[m](row[m].mean(dim=0)) if m in row else absent
            factors.append(torch.cat([one, vector]))
        return fusion.mix(outer(factors).detach().flatten())

    agrees(fusion, equation)


def test_an_absent_modality_leaves_the_tensor_of_the_others(sample, shake):
    three = shake(TensorFusion(sample.dims, out_dim=6, width=2))
    two = TensorFusion({"a": 5, "b": 3}, out_dim=6, width=2).double()
    weights = {k: v for k, v in three.state_dict().items() if not k.startswith("project.c")}
    weights["mix.weight"] = three.mix.weight.view(6, 3, 3, 3)[..., 0].flatten(1)
    two.load_state_dict(weights)
    row = sample.rows(torch.tensor([6]))  # a and b
    pair = {m: row.tokens[m] for m in ("a", "b")}
    torch.testing.assert_close(
        three(row.tokens, row.present).vector, two(pair, row.present[:, :2]).vector
    )


def test_a_tensor_over_the_limit_is_refused_with_a_remedy():
    with pytest.raises(ConfigError, match=r"24,137,569 values a row.*LowRankTensorFusion"):
        TensorFusion(dict.fromkeys("abcdef", 32))
    TensorFusion(dict.fromkeys("abcdef", 32), width=4)


def test_a_width_below_one_is_refused():
    with pytest.raises(ConfigError, match="width is 0"):
        TensorFusion({"a": 2}, width=0)
