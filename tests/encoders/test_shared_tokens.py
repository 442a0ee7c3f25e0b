"""SharedTokenAdapter: MMRL and MMRL++ against the equations written out, and their promises."""

from __future__ import annotations

import copy
import math

import lightning as L
import open_clip
import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from mmfuse.errors import ConfigError, DataError
from mmfuse_encoders import SharedTokenAdapter

VISION = {"image_size": 16, "patch_size": 8, "width": 16, "head_width": 8, "layers": 4}
LANGUAGE = {"context_length": 9, "vocab_size": 40, "width": 12, "heads": 3, "layers": 4}
START, END = 38, 39
#: Three classes, texts of several lengths.
PROMPTS = torch.tensor(
    [
        [START, 5, 6, END, 0, 0, 0, 0, 0],
        [START, 7, END, 0, 0, 0, 0, 0, 0],
        [START, 8, 9, 4, 3, 2, END, 0, 0],
    ]
)
FULL = {"mode": "full"}
SRRA = {"mode": "srra", "beta": 0.4, "rank": 2, "projection_rank": 3}


def tiny(vision: dict | None = None, text: dict | None = None, cls=open_clip.CLIP, **rest):
    """A CLIP of four layers in double precision, every weight drawn at random."""
    torch.manual_seed(1)
    clip = cls(6, {**VISION, **(vision or {})}, {**LANGUAGE, **(text or {})}, **rest).double()
    for parameter in clip.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    return clip


def adapted(clip=None, **options) -> SharedTokenAdapter:
    """An adapter of which nothing stands where it began."""
    clip = clip or tiny()
    torch.manual_seed(2)
    adapter = SharedTokenAdapter(clip, **{"first_layer": 2, "k": 2, "d_r": 7, **options}).double()
    for parameter in learning(adapter).values():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.3)
    return adapter


def learning(adapter: SharedTokenAdapter) -> dict[str, torch.Tensor]:
    return {n: p for n, p in adapter.named_parameters() if p.requires_grad}


def pictures(n: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(n, 3, 16, 16, dtype=torch.double, generator=generator)


LABELS = torch.tensor([0, 2, 1, 0])


@pytest.fixture(scope="module")
def vit_b_16():
    """The real architecture, with no memory behind its weights."""
    config = open_clip.get_model_config("ViT-B-16")
    with torch.device("meta"):
        return open_clip.CLIP(**config)


@pytest.mark.parametrize(("mode", "count"), [("full", 4_992_256), ("srra", 813_312)])
def test_on_vit_b_16_no_more_parameters_learn_than_the_method_has(vit_b_16, mode, count):
    adapter = SharedTokenAdapter(vit_b_16, mode=mode)
    assert sum(p.numel() for p in learning(adapter).values()) == count


class Literal:
    """The method as its equations stand, one row, one head and one position at a time."""

    def __init__(self, adapter: SharedTokenAdapter, srra: bool, first_layer: int = 2) -> None:
        self.w = dict(adapter.named_parameters())
        self.srra, self.first_layer = srra, first_layer
        self.k, self.beta = adapter.k, adapter.beta
        self.alpha, self.anchor_weight = adapter.alpha, adapter.anchor_weight

    def norm(self, name, x):
        centred = x - x.mean()
        by = torch.sqrt((centred**2).mean() + 1e-5)
        return centred / by * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def linear(self, name, x):
        return self.w[f"{name}.weight"] @ x + self.w[f"{name}.bias"]

    def block(self, name, rows, heads, causal):
        width = len(rows[0])
        size = width // heads
        normed = [self.norm(f"{name}.ln_1", x) for x in rows]
        joint = [
            self.w[f"{name}.attn.in_proj_weight"] @ x + self.w[f"{name}.attn.in_proj_bias"]
            for x in normed
        ]
        found = []
        for i, x in enumerate(rows):
            seen = range(i + 1) if causal else range(len(rows))
            parts = []
            for h in range(heads):
                q = joint[i][h * size : (h + 1) * size]
                keys = [joint[j][width + h * size : width + (h + 1) * size] for j in seen]
                values = [joint[j][2 * width + h * size : 2 * width + (h + 1) * size] for j in seen]
                exps = [torch.exp(q @ key / math.sqrt(size)) for key in keys]
                parts.append(sum(e * v for e, v in zip(exps, values, strict=True)) / sum(exps))
            x = x + self.linear(f"{name}.attn.out_proj", torch.cat(parts))
            inner = self.linear(f"{name}.mlp.c_fc", self.norm(f"{name}.ln_2", x))
            inner = inner * (1 + torch.erf(inner / math.sqrt(2))) / 2
            found.append(x + self.linear(f"{name}.mlp.c_proj", inner))
        return found

    def tokens(self, side, i):
        name = f"{side}_maps"
        if self.srra:
            update = self.w[f"{name}.updates.{i}.up"] @ self.w[f"{name}.updates.{i}.down"]
            weight, bias = self.w[f"{name}.weight"] + update, self.w[f"{name}.biases"][i]
        else:
            weight, bias = self.w[f"{name}.maps.{i}.weight"], self.w[f"{name}.maps.{i}.bias"]
        return [weight @ row + bias for row in self.w["space"]]

    def walk(self, rows, side, with_tokens):
        layers, heads = {"image": (VISION["layers"], 2), "text": (LANGUAGE["layers"], 3)}[side]
        prefix = "clip.visual.transformer" if side == "image" else "clip.transformer"
        for layer in range(1, layers + 1):
            if with_tokens and layer >= self.first_layer:
                tokens = self.tokens(side, layer - self.first_layer)
                if layer == self.first_layer:
                    rows = [rows[0], *tokens, *rows[1:]]
                else:
                    below = rows[1 : 1 + self.k]
                    mixed = [
                        self.beta * t + (1 - self.beta) * b
                        for t, b in zip(tokens, below, strict=True)
                    ]
                    rows = [rows[0], *mixed, *rows[1 + self.k :]]
            rows = self.block(f"{prefix}.resblocks.{layer - 1}", rows, heads, side == "text")
        return rows

    def image(self, picture, with_tokens=True):
        patch, rows = VISION["patch_size"], [self.w["clip.visual.class_embedding"]]
        for top in range(0, picture.shape[1], patch):
            for left in range(0, picture.shape[2], patch):
                cut = picture[:, top : top + patch, left : left + patch]
                rows.append((self.w["clip.visual.conv1.weight"] * cut).sum(dim=(1, 2, 3)))
        places = self.w["clip.visual.positional_embedding"]
        rows = [self.norm("clip.visual.ln_pre", x + p) for x, p in zip(rows, places, strict=True)]
        rows = [self.norm("clip.visual.ln_post", x) for x in self.walk(rows, "image", with_tokens)]
        projection = self.w["clip.visual.proj"]
        if self.srra:
            down, up = (self.w[f"projection.update.{n}"] for n in ("down", "up"))
            own = projection + down.T @ up.T
        else:
            own = self.w["projection.weight"]
        return rows[0] @ projection, sum(rows[1 : 1 + self.k]) / self.k @ own

    def text(self, ids, with_tokens=True):
        words = [self.w["clip.token_embedding.weight"][i] for i in ids]
        places = self.w["clip.positional_embedding"]
        rows = [x + p for x, p in zip(words, places, strict=True)]
        end = ids.tolist().index(END) + (self.k if with_tokens else 0)
        last = self.norm("clip.ln_final", self.walk(rows, "text", with_tokens)[end])
        return last @ self.w["clip.text_projection"]

    @staticmethod
    def cosine(a, b):
        return a @ b / torch.sqrt((a @ a) * (b @ b))

    def loss(self, images, labels, prompts):
        texts = [self.text(ids) for ids in prompts]
        scale = torch.exp(self.w["clip.logit_scale"])
        fits, drifts = [], []
        for picture, label in zip(images, labels, strict=True):
            pair = self.image(picture)
            for share, feature in zip((self.alpha, 1 - self.alpha), pair, strict=True):
                exps = torch.exp(torch.stack([scale * self.cosine(feature, t) for t in texts]))
                fits.append(-share * torch.log(exps[label] / exps.sum()))
            anchor = self.image(picture, with_tokens=False)[0].detach()
            drifts.append((1 - self.cosine(pair[0], anchor)) / len(images))
        for ids, feature in zip(prompts, texts, strict=True):
            anchor = self.text(ids, with_tokens=False).detach()
            drifts.append((1 - self.cosine(feature, anchor)) / len(prompts))
        return sum(fits) / len(images) + self.anchor_weight * sum(drifts)


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


def states_of(tower, x: torch.Tensor, tokens, beta: float = 0.4) -> torch.Tensor:
    return tower.leave_with(tower.enter(x), tokens, beta)


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


@pytest.fixture
def counted():
    """An adapter in eval mode, and how often its text tower has run with tokens, and without."""
    adapter, runs = adapted().eval(), []
    adapter._text.upper[0].register_forward_hook(lambda m, x, y: runs.append(y.shape[1]))
    return adapter, runs


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


class Fit(L.LightningModule):
    """What a user writes to train an adapter."""

    def __init__(self, adapter: SharedTokenAdapter) -> None:
        super().__init__()
        self.adapter, self.accuracies = adapter, []

    def training_step(self, batch):
        return self.adapter.loss(*batch, PROMPTS)

    def validation_step(self, batch):
        images, labels = batch
        found = self.adapter.logits(images, PROMPTS).argmax(dim=1)
        self.accuracies.append((found == labels).double().mean().item())

    def configure_optimizers(self):
        return torch.optim.AdamW([p for p in self.parameters() if p.requires_grad], lr=2e-2)


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
