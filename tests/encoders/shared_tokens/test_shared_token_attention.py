"""SharedTokenAdapter: who sees the shared tokens, and when texts' features are kept."""

from __future__ import annotations

import copy

import open_clip
import pytest
import torch
from shared_token_samples import (
    END,
    LABELS,
    PROMPTS,
    SRRA,
    adapted,
    learning,
    pictures,
    states_of,
    tiny,
)
from torch.nn import functional as F


def test_where_nothing_attends_tokens_change_no_feature():
    """It fails if the end of the text is read k places too early, or tokens overwrite words."""
    clip = tiny()
    for blocks in (clip.visual.transformer.resblocks, clip.transformer.resblocks):
        for block in blocks[1:]:
            torch.nn.init.zeros_(block.attn.out_proj.weight)
            torch.nn.init.zeros_(block.attn.out_proj.bias)
    adapter = adapted(clip)
    torch.testing.assert_close(adapter.encode_image(pictures())[0], clip.encode_image(pictures()))
    torch.testing.assert_close(adapter.encode_text(PROMPTS), clip.encode_text(PROMPTS))
    adapter.alpha, adapter.anchor_weight = 1.0, 100.0
    loss = adapter.loss(pictures(), LABELS, PROMPTS)
    fit = F.cross_entropy(adapter.logits(pictures(), PROMPTS, kind="novel"), LABELS)
    torch.testing.assert_close(loss, fit)


def test_where_something_attends_tokens_change_every_feature():
    adapter = adapted()
    plain = adapter.clip.encode_image(pictures()), adapter.clip.encode_text(PROMPTS)
    found = adapter.encode_image(pictures())[0], adapter.encode_text(PROMPTS)
    for one, other in zip(plain, found, strict=True):
        assert (one - other).abs().amax(dim=1).min() > 1e-3


def test_the_start_of_a_text_sees_no_token_and_tokens_see_no_word():
    adapter = adapted(**SRRA)
    tower, tokens = adapter._text, adapter.text_maps(adapter.space)
    first, second = (states_of(tower, PROMPTS[i : i + 1], tokens) for i in (0, 2))
    plain = tower.leave(tower.enter(PROMPTS[:1]))
    torch.testing.assert_close(first[:, 0], plain[:, 0])
    torch.testing.assert_close(first[:, :3], second[:, :3])  # the start and two tokens
    assert not torch.allclose(first[:, 3], plain[:, 1])  # the first word sees tokens
    one = states_of(tower, PROMPTS[:1], [t * torch.tensor([[1.0], [9.0]]) for t in tokens])
    torch.testing.assert_close(one[:, 1], first[:, 1])  # the first token sees no second
    assert not torch.allclose(one[:, 2], first[:, 2])


def test_in_an_image_everything_sees_everything():
    adapter = adapted(**SRRA)
    tower, tokens = adapter._image, adapter.image_maps(adapter.space)
    found = states_of(tower, pictures(1), tokens)
    other = states_of(tower, pictures(1), [t * torch.tensor([[1.0], [9.0]]) for t in tokens])
    assert (found - other).abs().amax(dim=2).min() > 1e-6
    assert not torch.allclose(found[:, 1:3], states_of(tower, pictures(2)[1:], tokens)[:, 1:3])


def test_a_text_counts_up_to_its_end_and_on_its_own():
    adapter = adapted()
    texts = adapter.encode_text(PROMPTS)
    behind = PROMPTS.clone()
    behind[1, 3:] = torch.tensor([9, 3, 1, 7, 2, 4])
    torch.testing.assert_close(adapter.encode_text(behind), texts)
    for i, ids in enumerate(PROMPTS):
        torch.testing.assert_close(adapter.encode_text(ids[None])[0], texts[i])
    before = PROMPTS.clone()
    before[1, 1] = 8
    changed = (adapter.encode_text(before) - texts).abs().amax(dim=1)
    assert changed[1] > 1e-3
    assert changed[[0, 2]].max() < 1e-12


def test_models_with_a_text_tower_apart_and_an_end_by_number_are_read_alike():
    clip = tiny()
    other = tiny(text={"pool_type": "eos", "eos_id": 30}, cls=open_clip.CustomTextCLIP)
    names = {n if n.startswith(("visual", "logit")) else f"text.{n}": n for n in clip.state_dict()}
    other.load_state_dict({new: clip.state_dict()[old] for new, old in names.items()})
    with torch.no_grad():
        other.text.token_embedding.weight[30] = clip.token_embedding.weight[END]
    one, two = adapted(clip), adapted(other)
    prompts = torch.where(PROMPTS == END, 30, PROMPTS)
    torch.testing.assert_close(two.encode_text(prompts), one.encode_text(PROMPTS))
    images = pictures()
    torch.testing.assert_close(two.logits(images, prompts), one.logits(images, PROMPTS))
    torch.testing.assert_close(two.loss(images, LABELS, prompts), one.loss(images, LABELS, PROMPTS))


def test_in_eval_mode_the_texts_features_are_computed_once(counted):
    adapter, runs = counted
    with torch.no_grad():
        first = adapter.logits(pictures(), PROMPTS)
        assert torch.equal(adapter.logits(pictures(), PROMPTS.clone(), kind="base"), first)
        adapter.logits(pictures(2), PROMPTS, kind="novel")
        assert len(runs) == 1
        other = adapter.encode_text(PROMPTS[:2])
        assert len(runs) == 2
        assert torch.allclose(other, adapter.encode_text(PROMPTS)[:2])
        assert len(runs) == 3


def test_kept_features_are_safe_from_what_a_caller_does_with_them():
    adapter = adapted().eval()
    with torch.inference_mode():
        adapter.encode_text(PROMPTS)
    with torch.no_grad():
        first = adapter.encode_text(PROMPTS)
        expected = first.clone()
        first /= first.norm(dim=1, keepdim=True)
        found = adapter.encode_text(PROMPTS)
    assert torch.equal(found, expected)
    weight = torch.ones(6, dtype=torch.double, requires_grad=True)
    (found * weight).sum().backward()  # autograd takes none that was made in inference mode


def test_training_drops_the_kept_features_of_texts(counted):
    adapter, runs = counted
    with torch.no_grad():
        kept = adapter.encode_text(PROMPTS)
    optimizer = torch.optim.AdamW(learning(adapter).values(), lr=0.1)
    adapter.train().loss(pictures(), LABELS, PROMPTS).backward()
    optimizer.step()
    adapter.eval()
    with torch.no_grad():
        found = adapter.encode_text(PROMPTS)
    assert not torch.allclose(found, kept)
    assert torch.equal(found, copy.deepcopy(adapter).encode_text(PROMPTS).detach())
    with torch.no_grad():
        adapter.train().eval()
        runs.clear()
        adapter.encode_text(PROMPTS)
    assert len(runs) == 1


@pytest.mark.parametrize("change", ["step", "load", "clip", "assign", "dtype", "autocast"])
def test_kept_features_are_not_used_after_a_change_without_train(counted, change):
    adapter, _ = counted
    if change == "autocast":
        adapter.float()
    with torch.no_grad():
        kept = adapter.encode_text(PROMPTS)
        if change == "step":
            adapter.space.add_(1)
        elif change == "clip":
            adapter.clip.ln_final.weight.mul_(torch.linspace(1, 2, 12))
        elif change == "dtype":
            adapter.float()
        elif change in ("load", "assign"):
            state = {n: p + 0.1 for n, p in learning(adapter).items()}
            adapter.load_state_dict(state, strict=False, assign=change == "assign")
        with torch.autocast("cpu", torch.bfloat16, enabled=change == "autocast"):
            found = adapter.encode_text(PROMPTS)
            assert torch.equal(found, adapter.train().encode_text(PROMPTS))
    assert found.dtype != kept.dtype or not torch.equal(found, kept)


def test_with_gradients_nothing_is_kept(counted):
    adapter, _ = counted
    with torch.no_grad():
        adapter.encode_text(PROMPTS)
    for _ in range(2):
        adapter.loss(pictures(), LABELS, PROMPTS).backward()
    assert adapter.text_maps.maps[0].weight.grad.abs().max() > 0


def test_clips_own_text_features_are_computed_once_for_all_steps(counted):
    adapter, runs = counted
    adapter.train()
    optimizer = torch.optim.AdamW(learning(adapter).values(), lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        adapter.loss(pictures(), LABELS, PROMPTS).backward()
        optimizer.step()
    assert sorted(runs) == [7, 9, 9, 9]  # the longest text has 7 tokens, and takes 2
