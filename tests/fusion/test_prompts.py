import pytest
import torch
from fusion_equations import encoder_layer, norm

from mmfuse.errors import ConfigError
from mmfuse.fusion import MissingPromptFusion


@pytest.mark.parametrize("limit", [7, 6])
def test_the_first_layers_read_the_prompts_of_the_pattern(sample, agrees, limit):
    fusion = MissingPromptFusion(
        sample.dims, 8, heads=2, layers=3, hidden=12, length=2, prompted=2, limit=limit
    )
    names = list(sample.dims)

    def prompts(layer, row):
        table = fusion.prompts[layer]
        if limit == 7:  # each of the seven patterns has its own
            return table[sum(2**i for i, m in enumerate(names) if m in row) - 1]
        return table[0] + sum(table[1 + i] for i, m in enumerate(names) if m not in row)

    def equation(row):
        parts = [fusion.cls[None]]
        for i, m in enumerate(names):
            if m in row:
                parts.append(fusion.project[m](row[m]) + fusion.embedding[i])
        x = torch.cat(parts)
        for k, layer in enumerate(fusion.layers.layers):
            if k < 2:
                x = encoder_layer(torch.cat([x, prompts(k, row)]), layer)[: len(x)]
            else:
                x = encoder_layer(x, layer)
        return norm(x, fusion.layers.norm)[0]

    assert fusion.is_composed == (limit == 6)
    agrees(fusion, equation)


def test_many_modalities_have_few_prompts():
    fusion = MissingPromptFusion({f"m{i}": 2 for i in range(12)}, out_dim=4)
    assert fusion.prompts.shape == (2, 13, 16, 4)
    assert MissingPromptFusion(dict.fromkeys("abcd", 2), out_dim=4).prompts.shape[1] == 15


def test_frozen_leaves_prompts_and_prior_to_learn():
    fusion = MissingPromptFusion({"a": 2, "b": 3}, frozen=True)
    assert {n for n, p in fusion.named_parameters() if p.requires_grad} == {"prompts", "prior"}


@pytest.mark.parametrize("options", [{"length": 0}, {"prompted": 0}])
def test_no_prompt_is_refused(options):
    with pytest.raises(ConfigError, match="expected 1 or more each"):
        MissingPromptFusion({"a": 2}, **options)
