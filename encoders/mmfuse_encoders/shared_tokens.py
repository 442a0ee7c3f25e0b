"""SharedTokenAdapter: MMRL and MMRL++, a frozen CLIP whose towers share learned tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmfuse.errors import ConfigError
from mmfuse_encoders.shared_token_maps import (
    FreshProjection,
    SharedTokenMaps,
    TokenMaps,
    UpdatedProjection,
)
from mmfuse_encoders.shared_token_towers import ImageTower, TextTower


class SharedTokenAdapter(nn.Module):
    """Adapts a frozen CLIP to classes with few labels, by tokens that both towers share.

    K learned vectors R of no modality are mapped to tokens for the layers of both towers from
    ``first_layer`` up. They stand after the class token and after the start of the text; each
    layer gets its own in the place of what came out below::

        V_i = F_i(R)                          tokens of image layer i; for texts T_i = G_i(R)
        f_c = proj(norm(class token))         as CLIP's own, frozen
        f_r = P_r(mean of norm(tokens))       P_r learns
        p_c, p_r = s cos(f_c, w), s cos(f_r, w)
        loss = alpha CE(p_c) + (1 - alpha) CE(p_r)
               + anchor_weight (2 - mean cos(f_c, f_c') - mean cos(w, w'))

    where w are the texts' features, the dashed are CLIP's without tokens, and s is the model's
    own scale, 100 in OpenAI's weights. Classes seen in training are told by
    ``alpha p_c + (1 - alpha) p_r``, new ones by ``p_c`` alone.

    With ``mode="srra"`` (MMRL++) the layers' maps are one weight with an update of low rank
    each, P_r is CLIP's projection with an update of low rank, and above the first layer the
    tokens are ``beta F_i(R) + (1 - beta)`` of what came out of the layer below.

    It is a module to train as any other, not an ``Encoder``: the features of an image and those
    of the prompts come from one set of weights, while a ``FusionModel`` has an encoder for each
    modality. In a ``LightningModule``, return ``loss`` from ``training_step`` and give the
    optimizer the parameters that require a gradient. They alone need to be saved; the model's
    own never change.

    Args:
        clip: a model of open_clip with a vision transformer, such as ViT-B-16, and a causal text
            transformer. It is frozen, and kept in eval mode.
        first_layer: the lowest layer of each tower that takes tokens, from 1.
        k: number K of tokens.
        d_r: width of R; the authors take 2048 for EuroSAT.
        mode: how tokens are mapped: each layer by a map of its own (``full``, MMRL) or by
            shared, residual maps of low rank (``srra``, MMRL++).
        beta: how much of a layer's tokens is its own, from 0 to 1. 1 is MMRL; for MMRL++ the
            authors take 0.1 to 0.9, by data set.
        rank: of the update of a layer's map, with ``srra``.
        projection_rank: of the update of CLIP's projection, with ``srra``.
        alpha: weight of the class token, from 0 to 1, in the loss and for classes seen.
        anchor_weight: weight of the distance from CLIP's own features; the authors take 0.01 to
            7, by data set, and 0.5 for ImageNet.

    Shape:
        images (B, 3, H, W), as ``OpenClipImageEncoder.preprocess`` gives them;
        prompts (C, T) numbers of tokens, from ``open_clip.get_tokenizer(...)``, one row a class;
        labels (B,) from 0 to C - 1

    Raises:
        ConfigError: a model that has no such towers, or an option out of its range.

    Reference: Guo and Gu, "MMRL: Multi-Modal Representation Learning for Vision-Language
        Models", CVPR 2025, arXiv:2503.08497; Guo and Gu, "MMRL++: Parameter-Efficient and
        Interaction-Aware Representation Learning for Vision-Language Models", 2025,
        arXiv:2505.10088.
    Departs from the authors' code: features of texts that were kept from one evaluation are
        never used after a later training step; s is the model's own; towers of any depth have
        tokens up to the top.

    Example:
        >>> import open_clip
        >>> vision = dict(image_size=16, patch_size=8, width=16, head_width=8, layers=2)
        >>> text = dict(context_length=8, vocab_size=32, width=16, heads=2, layers=2)
        >>> clip = open_clip.CLIP(8, vision, text)  # yours: open_clip.create_model(...)
        >>> adapter = SharedTokenAdapter(clip, first_layer=2, d_r=16)
        >>> learns = [p for p in adapter.parameters() if p.requires_grad]
        >>> optimizer = torch.optim.AdamW(learns, lr=1e-3)
        >>> images, labels = torch.randn(4, 3, 16, 16), torch.tensor([0, 1, 2, 0])
        >>> prompts = torch.tensor([[30, 5, 31], [30, 6, 31], [30, 7, 31]])  # one a class
        >>> for _ in range(2):
        ...     optimizer.zero_grad()
        ...     adapter.loss(images, labels, prompts).backward()
        ...     optimizer.step()
        >>> with torch.no_grad():
        ...     adapter.eval().logits(images, prompts, kind="novel").shape
        torch.Size([4, 3])
    """

    def __init__(
        self,
        clip: nn.Module,
        first_layer: int = 6,
        k: int = 5,
        d_r: int = 512,
        mode: Literal["full", "srra"] = "full",
        beta: float = 1.0,
        rank: int = 4,
        projection_rank: int = 64,
        alpha: float = 0.7,
        anchor_weight: float = 0.5,
    ) -> None:
        super().__init__()
        counts = {"k": k, "d_r": d_r, "rank": rank, "projection_rank": projection_rank}
        for name, value in counts.items():
            if value < 1:
                raise ConfigError(f"SharedTokenAdapter: {name} is {value}; expected 1 up.")
        for name, share in {"beta": beta, "alpha": alpha}.items():
            if not 0 <= share <= 1:
                raise ConfigError(f"SharedTokenAdapter: {name} is {share}; expected 0 to 1.")
        if not anchor_weight >= 0:
            raise ConfigError(
                f"SharedTokenAdapter: anchor_weight is {anchor_weight}; expected 0 up."
            )
        if mode not in ("full", "srra"):
            raise ConfigError(f'SharedTokenAdapter: mode is {mode!r}; expected "full" or "srra".')
        image, text = ImageTower(clip, first_layer), TextTower(clip, first_layer)
        self._image, self._text = image, text
        self.clip = clip.requires_grad_(False)
        self.k, self.beta, self.alpha, self.anchor_weight = k, beta, alpha, anchor_weight
        self.space = nn.Parameter(torch.empty(k, d_r).normal_(std=0.02))
        self.image_maps: nn.Module
        self.text_maps: nn.Module
        self.projection: nn.Module
        if mode == "full":
            self.image_maps = TokenMaps(d_r, image.width, len(image.upper))
            self.text_maps = TokenMaps(d_r, text.width, len(text.upper))
            self.projection = FreshProjection(image.width, image.out_dim)
        else:
            self.image_maps = SharedTokenMaps(d_r, image.width, len(image.upper), rank)
            self.text_maps = SharedTokenMaps(d_r, text.width, len(text.upper), rank)
            self.projection = UpdatedProjection(image.width, image.out_dim, projection_rank)
        self._kept, self._kept_anchors = _Kept(self), _Kept(clip)
        self.to(image.visual.proj.device)
        self.train(self.training)

    def train(self, mode: bool = True) -> SharedTokenAdapter:
        """CLIP stays in eval mode; features of texts that were kept are dropped."""
        super().train(mode)
        self.clip.eval()
        if mode:
            self._kept.drop()
        return self

    def encode_image(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The class feature and the representation feature, not normalised: (B, D) each.

        Raises:
            DataError: images of another size than the model's.
        """
        return self._image_features(self._image.enter(images))

    def encode_text(self, prompts: Tensor) -> Tensor:
        """The texts' features, not normalised: (C, D).

        In eval mode without gradients those of the last prompts are kept, until a weight changes.

        Raises:
            DataError: ``prompts`` is not a tokenizer's output, or longer than the context.
        """
        if self.training or torch.is_grad_enabled():
            return self._text_features(prompts)
        return self._kept(prompts, self._text_features)

    def logits(
        self, images: Tensor, prompts: Tensor, kind: Literal["base", "novel"] = "base"
    ) -> Tensor:
        """Scores of each image and class, (B, C).

        Args:
            images: (B, 3, H, W).
            prompts: one a class, (C, T) numbers of tokens.
            kind: ``base`` for the classes and the data set of the training; ``novel`` for
                others, which are told by the class token alone.

        Raises:
            ConfigError: another ``kind``.
            DataError: as for ``encode_image`` and ``encode_text``.
        """
        if kind not in ("base", "novel"):
            raise ConfigError(f'kind is {kind!r}; expected "base" or "novel".')
        class_feature, representation = self.encode_image(images)
        texts = self.encode_text(prompts)
        by_class = self._scores(class_feature, texts)
        if kind == "novel":
            return by_class
        return self.alpha * by_class + (1 - self.alpha) * self._scores(representation, texts)

    def loss(self, images: Tensor, labels: Tensor, prompts: Tensor) -> Tensor:
        """The training loss, a scalar.

        Args:
            images: (B, 3, H, W).
            labels: each image's class, (B,).
            prompts: one a class, (C, T) numbers of tokens.

        Raises:
            DataError: as for ``encode_image`` and ``encode_text``.
        """
        below = self._image.enter(images)
        class_feature, representation = self._image_features(below)
        texts = self.encode_text(prompts)
        with torch.no_grad():
            image_anchor = self._image.vector(self._image.leave(below))
            text_anchor = self._kept_anchors(prompts, self._text_anchors)
        by_class = F.cross_entropy(self._scores(class_feature, texts), labels)
        by_representation = F.cross_entropy(self._scores(representation, texts), labels)
        drift = _distance(class_feature, image_anchor) + _distance(texts, text_anchor)
        fit = self.alpha * by_class + (1 - self.alpha) * by_representation
        return fit + self.anchor_weight * drift

    def _image_features(self, below: Tensor) -> tuple[Tensor, Tensor]:
        x = self._image.leave_with(below, self.image_maps(self.space), self.beta)
        mean = self._image.mean_token(x, self.k)
        representation = self.projection(mean, self._image.visual.proj)
        class_feature = self._image.vector(x)
        return class_feature, representation.to(class_feature.dtype)

    def _text_features(self, prompts: Tensor) -> Tensor:
        ends = self._text.ends(prompts)
        below = self._text.enter(prompts[:, : ends.max() + 1])  # the rest is never seen
        x = self._text.leave_with(below, self.text_maps(self.space), self.beta)
        return self._text.vector(x, ends + self.k)

    def _text_anchors(self, prompts: Tensor) -> Tensor:
        ends = self._text.ends(prompts)
        below = self._text.enter(prompts[:, : ends.max() + 1])
        return self._text.vector(self._text.leave(below), ends)

    def _scores(self, features: Tensor, texts: Tensor) -> Tensor:
        scale: Any = self.clip.logit_scale
        return scale.exp() * F.normalize(features, dim=1) @ F.normalize(texts, dim=1).T


class _Kept:
    """What was computed from the last prompts, as long as the weights stay what they were.

    Each weight's place and version tell, as Lightning goes back to training after a validation
    without a call of ``train``.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module, self._prompts, self._state = module, torch.empty(0), ()
        self._value = torch.empty(0)

    def __call__(self, prompts: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
        state = self._now(prompts)
        if state != self._state or not torch.equal(prompts, self._prompts):
            self._value = compute(prompts)
            self._prompts, self._state = prompts.clone(), state
        # A caller may write into it, and autograd takes nothing made in inference mode.
        return self._value.clone()

    def drop(self) -> None:
        self._state = ()

    def _now(self, prompts: Tensor) -> tuple[Any, ...]:
        device = prompts.device
        precision = torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type)
        weights = (
            (p.data_ptr(), 0 if p.is_inference() else p._version) for p in self._module.parameters()
        )
        return (device, precision, *weights)


def _distance(features: Tensor, anchors: Tensor) -> Tensor:
    return 1 - F.cosine_similarity(features, anchors, dim=1).mean()
