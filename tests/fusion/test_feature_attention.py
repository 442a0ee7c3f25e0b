"""FeatureAttentionFusion against its equations, one coordinate at a time."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import layer_norm, prelu

from mmfuse.errors import ConfigError
from mmfuse.fusion import FeatureAttentionFusion


def attended(x, y, attention):
    (q, q0), (k, k0), (v, v0), (o, o0) = attention.maps
    made = []
    for x_p in x:
        scores = torch.stack([(q * x_p + q0) * (k * y_r + k0) for y_r in y]).softmax(dim=0)
        total = sum(s * (v * y_r + v0) for s, y_r in zip(scores, y, strict=True))
        made.append(o * total + o0)
    return torch.stack(made)


def finished(x, attention):
    norm = attention.norm
    scaled = layer_norm(x, x.shape, norm.weight, norm.bias)
    return prelu(scaled, attention.act.weight)


def test_the_equations(sample, agrees):
    fusion = FeatureAttentionFusion(sample.dims, width=6)

    def equation(row):
        own, parts = {}, []
        for m, tokens in row.items():
            x = fusion.project[m](tokens.mean(dim=0))
            own[m] = finished(x + attended(x, x, fusion.own[m]), fusion.own[m])
        for m in sample.dims:
            if m not in own:
                parts.append(torch.zeros(6).double())
                continue
            others = [attended(own[m], own[n], fusion.others[m]) for n in own if n != m]
            mean = sum(others) / len(others) if others else 0
            parts.append(finished(own[m] + mean, fusion.others[m]))
        return torch.cat(parts)

    agrees(fusion, equation)


def test_one_modality_attends_to_itself_alone():
    fusion = FeatureAttentionFusion({"a": 3}, width=4)
    assert not fusion.others
    assert fusion.out_dim == 4


def test_a_width_below_one_is_refused():
    with pytest.raises(ConfigError, match="widths of 1 or more"):
        FeatureAttentionFusion({"a": 3}, width=0)
