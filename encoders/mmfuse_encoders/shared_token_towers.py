"""open_clip's two towers with tokens put in from a middle layer up, as MMRL does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmfuse.errors import ConfigError, DataError


class TokenTower(ABC):
    """A frozen tower whose upper layers can take K tokens after the first of the sequence.

    Args:
        blocks: the layers, from the input to the output.
        first_layer: the lowest that takes tokens, from 1.
    """

    def __init__(self, blocks: Sequence[nn.Module], first_layer: int) -> None:
        if not 1 <= first_layer <= len(blocks):
            raise ConfigError(
                f"first_layer is {first_layer}; this model's {type(self).__name__} has layers 1 to "
                f"{len(blocks)}."
            )
        self.lower, self.upper = list(blocks)[: first_layer - 1], list(blocks)[first_layer - 1 :]

    @abstractmethod
    def embed(self, x: Tensor) -> Tensor:
        """The input of the first layer, (B, T, D)."""

    def mask(self, x: Tensor) -> Tensor | None:
        """What is added to the attention's scores, (T, T)."""
        return None

    @torch.no_grad()
    def enter(self, x: Tensor) -> Tensor:
        """States below the first layer with tokens, where nothing learns: (B, T, D)."""
        x = self.embed(x)
        mask = self.mask(x)
        for block in self.lower:
            x = block(x, attn_mask=mask)
        return x

    def leave(self, x: Tensor) -> Tensor:
        """States after the last layer, without tokens: (B, T, D)."""
        mask = self.mask(x)
        for block in self.upper:
            x = block(x, attn_mask=mask)
        return x

    def leave_with(self, x: Tensor, tokens: Sequence[Tensor], beta: float) -> Tensor:
        """States after the last layer, with tokens (K, D), one set a layer: (B, K + T, D).

        A layer's tokens are ``beta`` of its own and the rest of what came out below.
        """
        k = len(tokens[0])
        x = torch.cat([x[:, :1], x.new_empty(len(x), k, x.shape[2]), x[:, 1:]], dim=1)
        mask = self.mask(x)
        for layer, (block, own) in enumerate(zip(self.upper, tokens, strict=True)):
            own = own.to(x.dtype).expand(len(x), -1, -1)
            if layer > 0 and beta < 1:
                own = beta * own + (1 - beta) * x[:, 1 : 1 + k]
            x = block(torch.cat([x[:, :1], own, x[:, 1 + k :]], dim=1), attn_mask=mask)
        return x


class ImageTower(TokenTower):
    """The vision transformer of an open_clip model.

    Raises:
        ConfigError: it is none, or its vector is not the projected class token.
    """

    def __init__(self, clip: Any, first_layer: int) -> None:
        visual: Any = getattr(clip, "visual", None)
        if type(visual).__name__ != "VisionTransformer":
            raise ConfigError(
                f"The model's image tower is a {type(visual).__name__}; tokens need open_clip's "
                "VisionTransformer. Choose a model such as ViT-B-16."
            )
        if visual.pool_type != "tok" or visual.attn_pool is not None or visual.proj is None:
            raise ConfigError(
                "The image tower's vector is not its class token, projected, and tokens need one. "
                "Choose a model such as ViT-B-16."
            )
        super().__init__(visual.transformer.resblocks, first_layer)
        self.visual = visual
        self.width, self.out_dim = visual.proj.shape

    def embed(self, x: Tensor) -> Tensor:
        """The class token and the patches, with their positions, from (B, 3, H, W)."""
        visual = self.visual
        if x.ndim != 4 or tuple(x.shape[1:]) != (3, *visual.image_size):
            raise DataError(
                f"Images have shape {tuple(x.shape)}; the tower expects "
                f"(B, 3, {visual.image_size[0]}, {visual.image_size[1]}). Use its preprocessing."
            )
        patches = visual.conv1(x).flatten(2).transpose(1, 2)
        first = visual.class_embedding.to(patches.dtype).expand(len(x), 1, -1)
        states = torch.cat([first, patches], dim=1)
        return visual.ln_pre(states + visual.positional_embedding.to(states.dtype))

    def vector(self, x: Tensor) -> Tensor:
        """The class token's feature, from the last states: (B, out_dim)."""
        return self.visual.ln_post(x[:, 0]) @ self.visual.proj

    def mean_token(self, x: Tensor, k: int) -> Tensor:
        """The mean of the K tokens' states, normalised, not projected: (B, width)."""
        return self.visual.ln_post(x[:, 1 : 1 + k]).mean(dim=1)


class TextTower(TokenTower):
    """The causal text transformer of an open_clip model.

    Raises:
        ConfigError: it is none, or its vector is not the projected end-of-text token.
    """

    def __init__(self, clip: Any, first_layer: int) -> None:
        # Older models hold the tower's parts themselves.
        text: Any = getattr(clip, "text", clip)
        self._pool = getattr(text, "text_pool_type", None) or getattr(text, "pool_type", None)
        self._end_id: Any = getattr(text, "text_eos_id", None) or getattr(text, "eos_id", None)
        if (
            not hasattr(text, "token_embedding")
            or self._pool not in ("argmax", "eos")
            or getattr(text, "cls_emb", None) is not None
            or text.attn_mask is None
            or text.text_projection is None
        ):
            raise ConfigError(
                "The model's text tower is not open_clip's causal transformer read at its "
                "end-of-text token, and tokens need one. Choose a model such as ViT-B-16."
            )
        super().__init__(text.transformer.resblocks, first_layer)
        self.text = text
        self.width = text.token_embedding.embedding_dim

    def embed(self, x: Tensor) -> Tensor:
        """The words with their positions, from (B, T) numbers of tokens."""
        states = self.text.token_embedding(x).to(self.text.transformer.get_cast_dtype())
        return states + self.text.positional_embedding[: x.shape[1]].to(states.dtype)

    def mask(self, x: Tensor) -> Tensor:
        """Nothing sees what comes later."""
        length = x.shape[1]
        return torch.full((length, length), -torch.inf, dtype=x.dtype, device=x.device).triu(1)

    def ends(self, ids: Tensor) -> Tensor:
        """Where each text ends, (B,).

        Raises:
            DataError: numbers of the wrong shape or kind, or a text without an end.
        """
        context = len(self.text.positional_embedding)
        if ids.ndim != 2 or ids.is_floating_point() or not 2 <= ids.shape[1] <= context:
            raise DataError(
                f"Prompts have shape {tuple(ids.shape)} and type {ids.dtype}; expected (C, T) "
                f"numbers of tokens, T from 2 to {context}. Use the model's tokenizer."
            )
        is_end = ids if self._pool == "argmax" else ids.eq(self._end_id).int()
        found = is_end.argmax(dim=1)
        if not found.all():
            raise DataError(
                "A prompt has no end-of-text token after its start. Use the model's tokenizer."
            )
        return found

    def vector(self, x: Tensor, ends: Tensor) -> Tensor:
        """The end-of-text token's feature, from the last states: (B, out_dim)."""
        last = self.text.ln_final(x[torch.arange(len(x), device=x.device), ends])
        projection = self.text.text_projection
        return projection(last) if isinstance(projection, nn.Linear) else last @ projection
