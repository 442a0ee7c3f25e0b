"""SharedTokenAdapter: training, saving, half precision, and what is refused."""

from __future__ import annotations

import copy
import math

import lightning as L
import open_clip
import pytest
import torch
from shared_token_samples import (
    FULL,
    LABELS,
    PROMPTS,
    SRRA,
    Fit,
    Literal,
    adapted,
    learning,
    pictures,
    tiny,
)
from torch.utils.data import DataLoader, TensorDataset

from mmfuse.errors import ConfigError, DataError
from mmfuse_encoders import SharedTokenAdapter


def test_a_loss_in_inference_mode_spoils_no_later_training():
    adapter = adapted().eval()
    with torch.inference_mode():
        expected = adapter.loss(pictures(), LABELS, PROMPTS)
    loss = adapter.train().loss(pictures(), LABELS, PROMPTS)
    loss.backward()
    torch.testing.assert_close(loss.detach(), expected.clone())


def test_what_learns_is_all_that_must_be_saved(tmp_path):
    adapter = adapted(**SRRA)
    torch.save(learning(adapter), tmp_path / "learned.pt")
    again = SharedTokenAdapter(tiny(), first_layer=2, k=2, d_r=7, **SRRA).double()
    found = again.load_state_dict(torch.load(tmp_path / "learned.pt"), strict=False)
    assert not found.unexpected_keys
    assert all(name.startswith("clip.") for name in found.missing_keys)
    assert torch.equal(again.logits(pictures(), PROMPTS), adapter.logits(pictures(), PROMPTS))


@pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec.* is deprecated")
@pytest.mark.filterwarnings("ignore:.*in eval mode at the start of training")  # CLIP's
@pytest.mark.parametrize("options", [FULL, SRRA])
def test_lightning_trains_it_until_it_tells_the_classes_apart(options, tmp_path):
    labels = torch.arange(24) % 3
    images = pictures(24) / 2 + 2 * torch.eye(3, dtype=torch.double)[labels][:, :, None, None]
    loader = DataLoader(TensorDataset(images, labels), batch_size=12)
    adapter = adapted(**options, anchor_weight=0.01)
    clip, task = copy.deepcopy(adapter.clip.state_dict()), Fit(adapter)
    trainer = L.Trainer(
        max_epochs=20, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
        num_sanity_val_steps=2, log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(task, loader, loader)
    first, last = task.accuracies[:2], task.accuracies[-2:]
    assert max(first) < 0.6
    assert min(last) > 0.9
    assert all(torch.equal(clip[n], v) for n, v in adapter.clip.state_dict().items())


@pytest.mark.parametrize("options", [FULL, SRRA])
def test_half_precision_works_in_the_model_and_around_it(options):
    images = pictures().float()
    expected = adapted(**options).float().logits(images, PROMPTS)
    around = adapted(**options).float()
    with torch.autocast("cpu", torch.bfloat16):
        loss = around.loss(images, LABELS, PROMPTS)
        found = around.logits(images, PROMPTS)
    loss.backward()
    inside = SharedTokenAdapter(tiny().bfloat16(), first_layer=2, k=2, d_r=7, **options)
    inside.load_state_dict(learning(around), strict=False)
    assert inside.space.dtype == torch.float32
    inside.loss(images.bfloat16(), LABELS, PROMPTS).backward()
    for logits in (found, inside.logits(images.bfloat16(), PROMPTS)):
        assert (logits.float() - expected).abs().max() < 0.1 * expected.abs().max()
    for adapter in (around, inside):
        assert all(p.grad.isfinite().all() for p in learning(adapter).values())


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"vision": {"pool_type": "avg"}}, "is not its class token"),
        ({"vision": {"attentional_pool": True, "attn_pooler_heads": 2}}, "is not its class token"),
        ({"vision": {"layers": [1, 1, 1, 1], "image_size": 64}}, "is a ModifiedResNet"),
        ({"text": {"pool_type": "last"}}, "not open_clip's causal transformer"),
        ({"text": {"no_causal_mask": True}, "cls": open_clip.CustomTextCLIP}, "causal"),
        ({"text": {"embed_cls": True}, "cls": open_clip.CustomTextCLIP}, "end-of-text"),
        ({"text": {"proj_type": "none"}}, "end-of-text"),
    ],
)
def test_models_without_the_towers_it_needs_are_refused(options, match):
    with pytest.raises(ConfigError, match=match):
        SharedTokenAdapter(tiny(**options), first_layer=2)


def test_what_is_no_clip_is_refused():
    with pytest.raises(ConfigError, match="image tower is a NoneType"):
        SharedTokenAdapter(torch.nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"first_layer": 0}, "first_layer is 0; .* layers 1 to 4"),
        ({"first_layer": 5}, "first_layer is 5; .* layers 1 to 4"),
        ({"k": 0}, "k is 0; expected 1 up"),
        ({"d_r": 0}, "d_r is 0; expected 1 up"),
        ({"rank": 0}, "rank is 0; expected 1 up"),
        ({"projection_rank": -1}, "projection_rank is -1; expected 1 up"),
        ({"mode": "lora"}, 'mode is \'lora\'; expected "full" or "srra"'),
        ({"beta": 1.5}, "beta is 1.5; expected 0 to 1"),
        ({"alpha": -0.1}, "alpha is -0.1; expected 0 to 1"),
        ({"alpha": math.nan}, "alpha is nan; expected 0 to 1"),
        ({"anchor_weight": -1.0}, "anchor_weight is -1.0; expected 0 up"),
    ],
)
def test_options_out_of_range_are_refused_and_leave_the_model_alone(options, match):
    clip = tiny()
    with pytest.raises(ConfigError, match=match):
        SharedTokenAdapter(clip, **{"first_layer": 2, **options})
    assert all(p.requires_grad for p in clip.parameters())


@pytest.mark.parametrize(
    ("prompts", "match"),
    [
        (PROMPTS[0], r"shape \(9,\)"),
        (PROMPTS.double(), "float64"),
        (torch.ones(2, 10).long(), r"T from 2 to 9"),
        (torch.zeros(2, 9).long(), "no end-of-text token"),
    ],
)
def test_prompts_that_are_no_tokens_are_refused(prompts, match):
    with pytest.raises(DataError, match=match):
        adapted().encode_text(prompts)


def test_images_of_another_size_are_refused():
    with pytest.raises(DataError, match=r"\(2, 3, 8, 16\).*expects \(B, 3, 16, 16\)"):
        adapted().encode_image(torch.zeros(2, 3, 8, 16))


def test_the_first_layer_may_be_the_last_or_the_first():
    for first_layer in (1, 4):
        adapter = adapted(first_layer=first_layer)
        assert len(adapter.image_maps.maps) == 5 - first_layer
        literal = Literal(adapter, False, first_layer)
        expected = literal.image(pictures(1)[0])[1]
        torch.testing.assert_close(adapter.encode_image(pictures(1))[1][0], expected)
