import pytest
import torch
from fusion_equations import encoder_layer, norm

from mmfuse.errors import ConfigError
from mmfuse.fusion import TransformerFusion


def test_it_equals_attention_over_the_present_tokens_alone(sample, agrees):
    fusion = TransformerFusion(sample.dims, out_dim=8, heads=2, layers=2, hidden=12)

    def equation(row):
        parts = [fusion.cls[None]]
        for i, m in enumerate(sample.dims):
            if m in row:
                parts.append(fusion.project[m](row[m]) + fusion.embedding[i])
        x = torch.cat(parts)
        for layer in fusion.layers.layers:
            x = encoder_layer(x, layer)
        return norm(x, fusion.layers.norm)[0]

    agrees(fusion, equation)


def test_layers_start_at_different_weights():
    first, second = TransformerFusion({"a": 4}, out_dim=8, layers=2).layers.layers
    assert not torch.equal(first.linear1.weight, second.linear1.weight)
    assert not torch.equal(first.self_attn.in_proj_weight, second.self_attn.in_proj_weight)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ConfigError, match=r"heads=3 must divide out_dim=128"):
        TransformerFusion({"a": 4}, heads=3)


def test_no_layer_is_refused():
    with pytest.raises(ConfigError, match="layers is 0"):
        TransformerFusion({"a": 4}, layers=0)
