import pytest
import torch
from fusion_equations import encoder_layer, norm

from mmfuse.errors import ConfigError
from mmfuse.fusion import BottleneckFusion
from mmfuse.tokens import Tokens


def test_bottlenecks_are_averaged_over_the_present_after_every_layer(sample, agrees):
    fusion = BottleneckFusion(sample.dims, out_dim=8, bottlenecks=2, heads=2, layers=3, hidden=12)

    def equation(row):
        order = list(sample.dims)
        states = {
            m: torch.cat([fusion.cls[order.index(m), None], fusion.project[m](x)])
            for m, x in row.items()
        }
        shared = fusion.bottleneck
        for layer in fusion.layers:
            spoken = []
            for m, state in states.items():
                joined = encoder_layer(torch.cat([shared, state]), layer[m])
                spoken.append(joined[:2])
                states[m] = joined[2:]
            shared = sum(spoken) / len(spoken)
        return sum(norm(state, fusion.norm)[0] for state in states.values()) / len(states)

    agrees(fusion, equation)


def test_one_modality_is_a_plain_transformer(sample, shake):
    fusion = shake(BottleneckFusion({"b": 3}, out_dim=8, heads=2, layers=2, hidden=12))
    row = sample.row(7)["b"]
    x = torch.cat([fusion.bottleneck, fusion.cls[:1], fusion.project["b"](row)])
    for layer in fusion.layers:
        x = encoder_layer(x, layer["b"])
    found = fusion(
        {"b": Tokens(row[None], torch.ones(1, len(row)).bool())}, torch.ones(1, 1).bool()
    )
    torch.testing.assert_close(found.vector[0], norm(x, fusion.norm)[4])


def test_one_modality_reaches_another_through_the_bottleneck_alone(sample, shake):
    fusion = shake(BottleneckFusion({"a": 5, "b": 3}, out_dim=8, heads=2, hidden=12))
    last = {}
    for layer in fusion.layers:
        layer["b"].register_forward_hook(lambda _, args, out: last.update(b=out))
    a, b = torch.randn(2, 5).double(), torch.randn(1, 3).double().expand(2, 3)
    both = torch.ones(2, 2).bool()
    fusion({"a": Tokens.of(a), "b": Tokens.of(b)}, both)
    assert not torch.allclose(last["b"][0], last["b"][1])  # two rows, the same b, another a
    fusion.bottleneck = torch.nn.Parameter(torch.empty(0, 8).double())
    fusion({"a": Tokens.of(a), "b": Tokens.of(b)}, both)
    torch.testing.assert_close(last["b"][0], last["b"][1])


@pytest.mark.parametrize("options", [{"layers": 1}, {"bottlenecks": 0}])
def test_what_could_exchange_nothing_is_refused(options):
    with pytest.raises(ConfigError, match="modalities exchange only with 2 layers"):
        BottleneckFusion({"a": 4}, **options)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ConfigError, match=r"heads=4 must divide out_dim=10"):
        BottleneckFusion({"a": 4}, out_dim=10)
