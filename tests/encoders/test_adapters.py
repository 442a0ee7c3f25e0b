"""What of a pretrained backbone learns: nothing, its last layers, low-rank updates, everything."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable

import open_clip
import pytest
import timm
import torch
from torch import nn
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

from mmfuse.errors import ConfigError
from mmfuse.recorded import describe, rebuild
from mmfuse.spec import ModalitySpec
from mmfuse_encoders.adapters import Adapter, Frozen, FullTuning, LastLayers, LoRA
from mmfuse_encoders.plain_attention import PlainAttention
from mmfuse_encoders.pretrained import PretrainedEncoder

SIZE = 32


class Around(PretrainedEncoder):
    """An encoder around any network of pictures."""

    kinds = frozenset({"image"})

    def __init__(self, network, blocks, width, adapter=None, out_dim=None):
        super().__init__(ModalitySpec("image", (3, SIZE, SIZE)), out_dim, adapter)
        self._adopt(network, width, blocks)

    def features(self, x):
        return self.backbone(x)


def clip_vision():
    model = open_clip.CustomTextCLIP(
        embed_dim=6,
        vision_cfg={"image_size": SIZE, "patch_size": 8, "width": 16, "head_width": 8, "layers": 3},
        text_cfg={"context_length": 4, "vocab_size": 8, "width": 8, "heads": 2, "layers": 1},
    )
    return model.visual, list(model.visual.transformer.resblocks), 6


def torchvision_transformer():
    model = VisionTransformer(
        image_size=SIZE, patch_size=8, num_layers=3, num_heads=2, hidden_dim=16, mlp_dim=32,
        dropout=0.1, attention_dropout=0.1, num_classes=6,
    )  # fmt: skip
    nn.init.normal_(model.heads.head.weight)
    return model, list(model.encoder.layers), 6


def torchvision_convnext():
    stages = [CNBlockConfig(8, 16, 2), CNBlockConfig(16, None, 1)]
    model = ConvNeXt(stages, num_classes=6, layer_scale=0.5)
    return model, [b for s in model.features for b in s if "CNBlock" in type(b).__name__], 6


def timm_transformer():
    model = timm.create_model("test_vit", img_size=SIZE, num_classes=6)
    return model, list(model.blocks), 6


def timm_resnet():
    model = timm.create_model("test_resnet", num_classes=6, zero_init_last=False)
    return (
        model,
        [m for s in (model.layer1, model.layer2, model.layer3, model.layer4) for m in s],
        6,
    )


TRANSFORMERS = [clip_vision, torchvision_transformer, torchvision_convnext, timm_transformer]
NETWORKS = [*TRANSFORMERS, timm_resnet]


def around(make: Callable, adapter: Adapter | None = None, out_dim: int | None = None) -> Around:
    torch.manual_seed(3)
    network, blocks, width = make()
    return Around(network, blocks, width, adapter, out_dim)


def lora_for(make: Callable, rank: int = 2) -> LoRA:
    return LoRA(rank, targets=("conv2",) if make is timm_resnet else ())


def x(rows: int = 4) -> torch.Tensor:
    return torch.randn(rows, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(4))


def moved_by_a_step(encoder: Around) -> set[str]:
    """Every parameter and buffer that one training step changes."""
    before = copy.deepcopy(dict(encoder.state_dict()))
    learning = [p for p in encoder.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(learning, lr=0.1)
    for _ in range(2):  # the A of LoRA has no gradient while its B is zero
        optimiser.zero_grad()
        output = encoder.train()(x())
        (output * torch.linspace(1, 2, output.numel()).view_as(output)).sin().sum().backward()
        optimiser.step()
    return {n for n, v in encoder.state_dict().items() if not torch.equal(v, before[n])}


def parameters(encoder: nn.Module) -> set[str]:
    return {n for n, _ in encoder.named_parameters()}


@pytest.mark.parametrize("make", NETWORKS)
def test_frozen_moves_the_readout_alone(make):
    encoder = around(make, Frozen(), out_dim=3)
    assert moved_by_a_step(encoder) == {"readout.weight", "readout.bias"}


@pytest.mark.parametrize("make", NETWORKS)
def test_frozen_without_a_readout_is_a_frozen_encoder(make):
    encoder = around(make).train()
    assert encoder.frozen
    assert not any(m.training for m in encoder.modules())
    assert not encoder(x()).requires_grad


@pytest.mark.parametrize("make", NETWORKS)
def test_full_tuning_moves_everything(make):
    encoder = around(make, FullTuning())
    # A bias before the keys' softmax, or before a norm, has a gradient of rounding errors alone.
    still = parameters(encoder) - moved_by_a_step(encoder)
    assert not [n for n in still if not n.endswith("bias")]


@pytest.mark.parametrize("make", NETWORKS)
@pytest.mark.parametrize("count", [1, 2])
def test_last_layers_moves_those_and_no_other(make, count):
    encoder = around(make, LastLayers(count))
    blocks = make()[1]
    names = {id(m): n for n, m in encoder.backbone.named_modules()}
    learning = {n for n, p in encoder.named_parameters() if p.requires_grad}
    last = around_blocks(encoder, make)[-count:]
    expected = {
        f"backbone.{names[id(block)]}.{n}" for block in last for n, _ in block.named_parameters()
    }
    assert len(blocks) > count
    assert learning == expected
    statistics = {n for block in last for n, _ in block.named_buffers()}
    moved = moved_by_a_step(encoder)
    assert {n for n in moved if n in parameters(encoder)} <= expected
    others = {n for n in moved if n not in parameters(encoder)}
    assert all(any(n.endswith(s) for s in statistics) for n in others)
    assert {n for n in expected if n.endswith("weight")} <= moved


def around_blocks(encoder: Around, make: Callable) -> list[nn.Module]:
    """The blocks of the encoder's own network."""
    fresh, blocks, _ = make()
    names = {id(m): n for n, m in fresh.named_modules()}
    return [encoder.backbone.get_submodule(names[id(b)]) for b in blocks]


@pytest.mark.parametrize("make", NETWORKS)
def test_lora_moves_its_updates_alone(make):
    encoder = around(make, lora_for(make))
    learning = {n for n, p in encoder.named_parameters() if p.requires_grad}
    assert learning
    assert all(".lora_A." in n or ".lora_B." in n for n in learning)
    assert moved_by_a_step(encoder) == learning


@pytest.mark.parametrize("make", NETWORKS)
def test_lora_changes_nothing_at_first(make):
    plain, adapted = around(make), around(make, lora_for(make)).eval()
    torch.testing.assert_close(adapted(x()), plain(x()), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", TRANSFORMERS)
def test_lora_wraps_every_linear_map_of_the_layers_and_no_other(make):
    encoder = around(make, lora_for(make))
    for i, block in enumerate(around_blocks(encoder, make)):
        maps = [m for m in block.modules() if hasattr(m, "lora_A")]
        plain = [
            m
            for n, m in block.named_modules()
            if isinstance(m, nn.Linear) and "lora" not in n and "base_layer" not in n
        ]
        assert not plain, i
        # A transformer's block has attention in, attention out and two of its perceptron.
        assert len(maps) == (2 if make is torchvision_convnext else 4)
    assert type(getattr(encoder.backbone, "head", None)) is not nn.MultiheadAttention
    inside = {id(m) for b in around_blocks(encoder, make) for m in b.modules()}
    assert all(id(m) in inside for m in encoder.backbone.modules() if hasattr(m, "lora_A"))


@pytest.mark.parametrize("make", NETWORKS)
def test_lora_is_its_equation(make):
    encoder = around(make, LoRA(3, alpha=6.0, targets=lora_for(make).targets)).double().eval()
    plain = around(make).double()
    torch.manual_seed(5)
    for name, module in encoder.backbone.named_modules():
        if not hasattr(module, "lora_A"):
            continue
        a, b = module.lora_A["default"].weight, module.lora_B["default"].weight
        with torch.no_grad():
            b.normal_()
            base = module.base_layer
            update = (b.flatten(1) @ a.flatten(1)).view_as(base.weight)
            weight = base.weight + 6.0 / 3 * update
            target = plain.backbone.get_submodule(name.removesuffix(".in_proj"))
            if isinstance(target, nn.MultiheadAttention):
                target.in_proj_weight.copy_(weight)
            else:
                target.weight.copy_(weight)
    given = x().double()
    expected = plain(given)
    assert not torch.allclose(around(make).double()(given), expected)
    torch.testing.assert_close(encoder(given), expected)


@pytest.mark.parametrize("make", NETWORKS)
def test_lora_survives_copies_states_and_many_calls_bit_for_bit(make):
    encoder = around(make, lora_for(make))
    moved_by_a_step(encoder)
    encoder.eval()
    expected, state = encoder(x()), copy.deepcopy(encoder.state_dict())
    for _ in range(3):
        encoder(x())
    assert all(torch.equal(v, state[n]) for n, v in encoder.state_dict().items())
    fresh = around(make, lora_for(make)).eval()
    fresh.load_state_dict(state)
    assert torch.equal(fresh(x()), expected)
    assert torch.equal(copy.deepcopy(encoder)(x()), expected)


def test_lora_starts_the_same_and_draws_nothing():
    network, blocks, width = clip_vision()
    twin = copy.deepcopy((network, blocks))
    state = torch.get_rng_state()
    first = Around(network, blocks, width, LoRA(2))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(77)
    second = Around(*twin, width, LoRA(2))
    for name, parameter in first.named_parameters():
        assert torch.equal(parameter, second.get_parameter(name))


def test_lora_drops_out_in_training_alone():
    encoder = around(clip_vision, LoRA(2, dropout=0.5))
    moved_by_a_step(encoder)
    assert not torch.equal(encoder.train()(x()), encoder(x()))
    assert torch.equal(encoder.eval()(x()), encoder(x()))


@pytest.mark.parametrize(
    ("adapter", "out_dim"), [(Frozen(), 3), (LoRA(2, targets=("conv2",)), None), (LastLayers(1), 3)]
)
def test_the_statistics_of_a_batch_norm_that_does_not_learn_stay(adapter, out_dim):
    encoder = around(timm_resnet, adapter, out_dim)
    moved = moved_by_a_step(encoder)
    statistics = {n for n in moved if "running" in n or "num_batches" in n}
    last = isinstance(adapter, LastLayers)
    assert all(n.startswith("backbone.layer4.") for n in statistics)
    assert bool(statistics) == last
    moved = moved_by_a_step(around(timm_resnet, FullTuning()))
    assert "backbone.bn1.running_mean" in moved


def test_dropout_rests_in_the_layers_that_do_not_learn():
    encoder = around(torchvision_transformer, LastLayers(1)).train()
    first, _, last = encoder.backbone.encoder.layers
    assert not first.dropout.training
    assert last.dropout.training


@pytest.mark.parametrize("make", [clip_vision, torchvision_convnext])
def test_a_linear_probe_learns_what_the_features_tell(make):
    encoder = around(make, Frozen(), out_dim=2)
    torch.manual_seed(0)
    labels = torch.arange(40) % 2
    pictures = torch.randn(40, 3, SIZE, SIZE) + 2 * labels.view(-1, 1, 1, 1)
    with torch.no_grad():
        features = encoder.backbone(pictures)
    scale = features.std()
    optimiser = torch.optim.Adam([p for p in encoder.parameters() if p.requires_grad], lr=0.1)
    for _ in range(100):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(encoder.train()(pictures) / scale, labels)
        loss.backward()
        optimiser.step()
    assert (encoder.eval()(pictures).argmax(dim=1) == labels).double().mean() > 0.95


@pytest.mark.parametrize(
    "adapter", [Frozen(), FullTuning(), LastLayers(2), LoRA(4, 8.0, 0.1, targets=["c_fc"])]
)
def test_adapters_are_rebuilt_from_plain_data(adapter):
    again = rebuild(describe(adapter), base=Adapter)
    assert type(again) is type(adapter)
    assert vars(again).keys() == vars(adapter).keys()
    assert describe(again) == describe(adapter)


def test_what_an_adapter_cannot_do_is_refused():
    with pytest.raises(ConfigError, match="count is 0; expected 1 up"):
        LastLayers(0)
    with pytest.raises(ConfigError, match="rank is 0; expected 1 up"):
        LoRA(0)
    with pytest.raises(ConfigError, match="count is 4, VisionTransformer has 3 layers"):
        around(clip_vision, LastLayers(4))
    with pytest.raises(ConfigError, match="the layers of ResNet have no linear map"):
        around(timm_resnet, LoRA())
    with pytest.raises(ConfigError, match=r"LoRA on VisionTransformer: .*nonsense"):
        around(clip_vision, LoRA(targets=["nonsense"]))


def test_lora_without_peft_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ConfigError, match="needs peft, which is not installed: pip install"):
        around(clip_vision, LoRA())


def swin():
    model = SwinTransformer([4, 4], 8, [1, 1], [2, 2], [2, 2], num_classes=6)
    return model, [b for i in (1, 3) for b in model.features[i]], 6


def test_lora_never_wraps_a_map_whose_module_is_not_called():
    encoder = around(swin, LoRA(2))
    assert moved_by_a_step(encoder) == {n for n, p in encoder.named_parameters() if p.requires_grad}
    with pytest.raises(ConfigError, match=r"reads the weights of .*attn\.qkv.* without calling"):
        around(swin, LoRA(2, targets=["qkv"]))


MASKS = {
    "none": {},
    "causal": {"attn_mask": torch.full((5, 5), float("-inf")).triu(1).double()},
    "causal as claims": {"attn_mask": torch.ones(5, 5).bool().triu(1)},
    "of each head": {"attn_mask": torch.randn(6, 5, 5, generator=torch.Generator()).double()},
    "padding": {"key_padding_mask": torch.arange(5).expand(3, -1) > 2},
    "both": {
        "attn_mask": torch.ones(5, 5).bool().triu(1),
        "key_padding_mask": torch.arange(5).expand(3, -1) > 2,
    },
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_plain_attention_is_torchs_own(mask, bias, batch_first):
    attention = nn.MultiheadAttention(8, 2, bias=bias, batch_first=batch_first).double()
    if bias:
        nn.init.normal_(attention.in_proj_bias)
        nn.init.normal_(attention.out_proj.bias)
    plain = PlainAttention(attention)
    query, key, value = torch.randn(3, 3, 5, 8, dtype=torch.float64).unbind()
    if not batch_first:
        query, key, value = (t.transpose(0, 1) for t in (query, key, value))
    options = dict(MASKS[mask])
    if mask == "both":  # torch refuses claims beside numbers
        options["key_padding_mask"] = options["key_padding_mask"].clone()
    for given in ((query, query, query), (query, key, value), (query, key, key)):
        expected, _ = attention(*given, need_weights=False, **options)
        torch.testing.assert_close(plain(*given, **options)[0], expected)


def test_plain_attention_shares_the_weights_and_drops_out_as_torchs():
    attention = nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=True)
    plain = PlainAttention(attention)
    assert plain.in_proj.weight is attention.in_proj_weight
    given = torch.randn(3, 5, 8)
    assert not torch.equal(plain(given, given, given)[0], plain(given, given, given)[0])
    plain.eval()
    assert torch.equal(plain(given, given, given)[0], plain(given, given, given)[0])


def test_plain_attention_stands_for_no_attention_of_another_kind():
    assert PlainAttention.can_stand_for(nn.MultiheadAttention(8, 2))
    assert not PlainAttention.can_stand_for(nn.MultiheadAttention(8, 2, kdim=4))
    assert not PlainAttention.can_stand_for(nn.MultiheadAttention(8, 2, add_bias_kv=True))
    assert not PlainAttention.can_stand_for(nn.MultiheadAttention(8, 2, add_zero_attn=True))
    assert not PlainAttention.can_stand_for(nn.Linear(8, 2))


def test_lora_takes_grouped_convolutions_without_a_warning():
    def grouped():
        layer = nn.Conv2d(3, 6, 3, groups=3, padding=1)
        return nn.Sequential(layer, nn.AdaptiveAvgPool2d(1), nn.Flatten()), [layer], 6

    encoder = around(grouped, LoRA(3, targets=["0"]))
    assert encoder(x()).shape == (4, 6)
    with pytest.raises(ConfigError, match="LoRA on Sequential"):
        around(grouped, LoRA(2, targets=["0"]))
