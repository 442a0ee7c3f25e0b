"""Small CLIPs, the adapter's equations written out, and a user's training of it."""

from __future__ import annotations

import math

import lightning as L
import open_clip
import torch

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


def states_of(tower, x: torch.Tensor, tokens, beta: float = 0.4) -> torch.Tensor:
    return tower.leave_with(tower.enter(x), tokens, beta)


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
