"""SharedTokenAdapter: MMRL and MMRL++ against the equations written out."""

from __future__ import annotations

import copy

import pytest
import torch
from shared_token_samples import (
    END,
    FULL,
    LABELS,
    PROMPTS,
    SRRA,
    START,
    Literal,
    adapted,
    learning,
    pictures,
    tiny,
)
from torch.nn import functional as F

from mmfuse.errors import ConfigError
from mmfuse_encoders import SharedTokenAdapter


@pytest.mark.parametrize(("mode", "count"), [("full", 4_992_256), ("srra", 813_312)])
def test_on_vit_b_16_no_more_parameters_learn_than_the_method_has(vit_b_16, mode, count):
    adapter = SharedTokenAdapter(vit_b_16, mode=mode)
    assert sum(p.numel() for p in learning(adapter).values()) == count


@pytest.mark.parametrize("options", [FULL, SRRA, {"mode": "full", "beta": 0.0}])
def test_features_are_those_of_the_equations(options):
    adapter = adapted(**options)
    literal = Literal(adapter, options["mode"] == "srra")
    images = pictures(2)
    by_class, representation = adapter.encode_image(images)
    expected = [literal.image(x) for x in images]
    torch.testing.assert_close(by_class, torch.stack([c for c, _ in expected]))
    torch.testing.assert_close(representation, torch.stack([r for _, r in expected]))
    full = torch.tensor([[START, *range(7), END]])  # as long as the context
    for prompts in (PROMPTS, full):
        expected = torch.stack([literal.text(ids) for ids in prompts])
        torch.testing.assert_close(adapter.encode_text(prompts), expected)


@pytest.mark.parametrize("options", [FULL, SRRA])
def test_the_loss_and_its_gradients_are_those_of_the_equations(options):
    adapter = adapted(**options, alpha=0.6, anchor_weight=2.0)
    images, learns = pictures(), learning(adapter)
    loss = adapter.loss(images, LABELS, PROMPTS)
    expected = Literal(adapter, options["mode"] == "srra").loss(images, LABELS, PROMPTS)
    torch.testing.assert_close(loss, expected)
    found = torch.autograd.grad(loss, list(learns.values()))
    wanted = torch.autograd.grad(expected, list(learns.values()))
    for name, one, other in zip(learns, found, wanted, strict=True):
        torch.testing.assert_close(one, other, msg=lambda m, n=name: f"{n}: {m}")
        assert one.abs().max() > 0, name


def test_classes_seen_take_both_features_and_new_ones_the_class_token_alone():
    adapter = adapted(alpha=0.3)
    images, texts = pictures(), F.normalize(adapter.encode_text(PROMPTS), dim=1)
    scale = adapter.clip.logit_scale.exp()
    by_class, by_representation = (
        scale * F.normalize(f, dim=1) @ texts.T for f in adapter.encode_image(images)
    )
    mixed = 0.3 * by_class + 0.7 * by_representation
    torch.testing.assert_close(adapter.logits(images, PROMPTS), mixed)
    torch.testing.assert_close(adapter.logits(images, PROMPTS, kind="novel"), by_class)
    with pytest.raises(ConfigError, match="kind is 'new'"):
        adapter.logits(images, PROMPTS, kind="new")


@pytest.mark.parametrize("mode", ["full", "srra"])
def test_at_the_start_every_layer_has_the_same_tokens(mode):
    adapter = SharedTokenAdapter(tiny(), first_layer=2, k=3, d_r=7, mode=mode)
    for maps, width in ((adapter.image_maps, 16), (adapter.text_maps, 12)):
        tokens = maps(adapter.space)
        assert [t.shape for t in tokens] == [(3, width)] * 3
        assert all(torch.equal(t, tokens[0]) for t in tokens)
        assert tokens[0].abs().max() > 0


def test_at_the_start_mmrl_plus_projects_its_tokens_as_clip_does():
    adapter = SharedTokenAdapter(tiny(), first_layer=2, k=3, d_r=7, mode="srra").double()
    states = adapter._image.leave_with(
        adapter._image.enter(pictures()), adapter.image_maps(adapter.space), beta=1.0
    )
    mean = adapter.clip.visual.ln_post(states[:, 1:4]).mean(dim=1)
    found = adapter.encode_image(pictures())[1]
    assert torch.equal(found, mean @ adapter.clip.visual.proj)
    with torch.no_grad():
        adapter.projection.update.up.fill_(0.1)
    assert not torch.allclose(adapter.encode_image(pictures())[1], found)


@pytest.mark.parametrize("beta", [1.0, 0.9])
def test_what_comes_out_of_a_layers_tokens_counts_below_beta_1_alone(beta):
    adapter = adapted(**{**SRRA, "beta": beta})
    before = (*adapter.encode_image(pictures()), adapter.encode_text(PROMPTS))

    def spoil(module, inputs, output):
        return torch.cat([output[:, :1], output[:, 1:3] * torch.nan, output[:, 3:]], dim=1)

    for tower in (adapter._image, adapter._text):
        for block in tower.upper[:-1]:
            block.register_forward_hook(spoil)
    after = (*adapter.encode_image(pictures()), adapter.encode_text(PROMPTS))
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one, other) if beta == 1 else other.isnan().all()


@pytest.mark.parametrize("options", [FULL, SRRA])
def test_a_step_changes_what_learns_and_not_a_bit_of_clip(options):
    adapter = adapted(**options).train()
    clip, before = copy.deepcopy(adapter.clip), copy.deepcopy(learning(adapter))
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=1e-3)
    adapter.loss(pictures(), LABELS, PROMPTS).backward()
    optimizer.step()
    assert not adapter.clip.training
    for name, value in clip.state_dict().items():
        assert torch.equal(adapter.clip.state_dict()[name], value), name
    for name, parameter in learning(adapter).items():
        assert not torch.equal(parameter, before[name]), name
    assert not any(name.startswith("clip.") for name in before)


def test_a_model_that_drops_patches_in_training_keeps_them_all():
    adapter = adapted(tiny({"patch_dropout": 0.5})).train()
    expected = adapter.encode_image(pictures())
    found = adapter.encode_image(pictures())
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
