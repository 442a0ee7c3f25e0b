import pytest
import torch
from fusion_equations import attention, encoder_layer, norm

from mmfuse.errors import ConfigError
from mmfuse.fusion import CrossModalAttentionFusion
from mmfuse.tokens import Tokens


def test_each_present_target_reads_each_other_present_source(sample, agrees):
    fusion = CrossModalAttentionFusion(sample.dims, out_dim=8, heads=2, layers=2, hidden=12)

    def equation(row):
        z = {m: fusion.project[m](x) for m, x in row.items()}
        vectors = []
        for target in row:
            views = []
            for source in row:
                if source == target:
                    continue
                state = z[target]
                for layer in fusion.cross[target][source]:
                    query = norm(state, layer.norm_target)
                    keys = norm(z[source], layer.norm_source)
                    state = state + attention(query, keys, layer.attention)
                    state = state + layer.mlp(state)
                views.append(state)
            state = sum(views) / len(views) if views else z[target]
            state = encoder_layer(state, fusion.refine[target])
            vectors.append(fusion.read[target](state.mean(dim=0)))
        return sum(vectors) / len(vectors)

    agrees(fusion, equation)


def test_a_fusion_of_one_modality_has_nothing_to_cross():
    fusion = CrossModalAttentionFusion({"a": 4}, out_dim=8)
    assert not list(fusion.cross.parameters())
    assert fusion({"a": Tokens.of(torch.randn(2, 4))}, torch.ones(2, 1).bool()).vector.shape == (
        2,
        8,
    )


def test_ordered_pairs_have_weights_of_their_own_whatever_the_names():
    fusion = CrossModalAttentionFusion({"a": 4, "a_b": 4, "b": 4}, out_dim=8)
    pairs = [
        fusion.cross[t][s][0].attention.in_proj_weight
        for t in fusion.modalities
        for s in fusion.modalities
        if s != t
    ]
    assert len({p.data_ptr() for p in pairs}) == 6


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ConfigError, match=r"heads=5 must divide out_dim=128"):
        CrossModalAttentionFusion({"a": 4}, heads=5)
