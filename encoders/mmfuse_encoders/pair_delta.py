"""PairDeltaEncoder: two states of one thing, encoded to what changed between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from mmfuse.encoder import Encoder
from mmfuse.errors import ConfigError
from mmfuse.spec import ModalitySpec
from mmfuse.tokens import Tokens
from mmfuse_encoders.headed import inner_encoder
from mmfuse_encoders.tokens import sequence

How = Literal["difference", "concat", "channel_stack"]


class PairDeltaEncoder(Encoder):
    """The change between a state before and a state after, by an encoder of one state.

    The states are the first and the last step of a series or of tokens, or two images stacked
    on their channels. With f the encoder of a state::

        difference      z = f(after) - f(before)
        concat          z = [f(before), f(after)]
        channel_stack   z = f'(before, after)

    where f' is f with its first layer reading both states, by its weights W as [W/2, W/2]. So it
    begins as f of the states' mean, two equal states give what f gives of one, and nothing that
    was pretrained is lost.

    ``CLIPLoss`` compares the change with a text; ``ChangeAlignmentLoss`` does where the states
    are two modalities.

    Args:
        spec: series (steps, C), tokens (steps, C), or images of two states (2 C, height, width).
        encoder: the name of the encoder of a state: one of vectors (C,) for series and tokens,
            one of images (C, height, width) for images.
        options: its arguments, by name.
        how: see above.
        frozen: no learning, in the encoder of a state either.

    Shape:
        (B, steps, C) or Tokens or (B, 2 C, height, width) -> (B, D), with D = out_dim of
        ``encoder``, twice that with ``concat``

    Raises:
        ConfigError: an unknown ``how``; no such encoder, or one of neither vectors nor images;
            raw images, or an odd number of channels; with ``channel_stack``, an encoder whose
            first layer is no linear map or convolution of C channels.

    Reference: Myers et al., "Goal Representations for Instruction Following: A Semi-Supervised
        Language Interface to Control" (GRIF), CoRL 2023, arXiv:2307.00117, for the stack.
    """

    kinds = frozenset({"series", "tokens", "image"})

    def __init__(
        self,
        spec: ModalitySpec | int | Sequence[int | None],
        encoder: str = "MLPEncoder",
        options: dict[str, Any] | None = None,
        how: How = "difference",
        frozen: bool = False,
    ) -> None:
        super().__init__(spec, 0, frozen)
        if how not in ("difference", "concat", "channel_stack"):
            raise ConfigError(
                f"PairDeltaEncoder: how is {how!r}; expected 'difference', 'concat' or "
                "'channel_stack'."
            )
        self.how = how
        state = self._one_state()
        self.encoder = inner_encoder(state, encoder, options)
        # One that reads vectors reads no images; either is what this one is for.
        self.kinds = frozenset(  # type: ignore[misc]
            {"image"} if state.kind == "image" else {"series", "tokens"}
        )
        if how == "channel_stack":
            _read_two(self.encoder, state.width)
        self.out_dim = self.encoder.out_dim * (2 if how == "concat" else 1)

    def _one_state(self) -> ModalitySpec:
        if self.spec.kind != "image":
            return ModalitySpec("vector", (self.spec.width,))
        if not self.spec.shape or self.spec.width % 2:
            raise ConfigError(
                f"PairDeltaEncoder reads arrays of two images stacked on their channels; the "
                f"modality has the shape {self.spec.shape}. Give arrays with 2 C channels."
            )
        return ModalitySpec("image", (self.spec.width // 2, *self.spec.shape[1:]))

    def forward(self, x: Tensor | Tokens) -> Tensor:
        """Encodes the rows."""
        before, after = self._ends(x)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.encoder.frozen):
            if self.how == "channel_stack":
                return self._state(torch.cat([before, after], dim=1))
            first, last = self._state(torch.cat([before, after])).chunk(2)
        return last - first if self.how == "difference" else torch.cat([first, last], dim=1)

    def _ends(self, x: Tensor | Tokens) -> tuple[Tensor, Tensor]:
        if self.spec.kind == "image":
            assert isinstance(x, Tensor)
            before, after = x.chunk(2, dim=1)
            return before, after
        tokens = sequence(x)
        rows = torch.arange(len(tokens), device=tokens.mask.device)
        mask = tokens.mask.long()
        first, last = mask.argmax(dim=1), mask.shape[1] - 1 - mask.flip(1).argmax(dim=1)
        return tokens.values[rows, first], tokens.values[rows, last]

    def _state(self, x: Tensor) -> Tensor:
        return Tokens.of(self.encoder(x)).pooled()


def _read_two(encoder: Encoder, width: int) -> None:
    """Makes an encoder's first layer read two states, each with half of its weight.

    Raises:
        ConfigError: its first layer is not one of ``width`` channels.
    """
    leaves = ((n, m) for n, m in encoder.named_modules() if not list(m.children()))
    layers = ((n, m) for n, m in leaves if list(m.parameters()))
    name, layer = next(layers, ("", None))
    made: nn.Module
    if isinstance(layer, nn.Linear) and layer.in_features == width:
        made = nn.Linear(2 * width, layer.out_features, layer.bias is not None)
    elif isinstance(layer, nn.Conv2d) and layer.in_channels == width and layer.groups == 1:
        made = nn.Conv2d(
            2 * width,
            layer.out_channels,
            cast(tuple[int, int], layer.kernel_size),
            cast(tuple[int, int], layer.stride),
            cast(tuple[int, int], layer.padding),
            cast(tuple[int, int], layer.dilation),
            bias=layer.bias is not None,
            padding_mode=layer.padding_mode,
        )
    else:
        raise ConfigError(
            f"PairDeltaEncoder: the first layer of {type(encoder).__name__} is "
            f"{type(layer).__name__}, which cannot read two states of {width} channels. Set how "
            "to 'difference' or 'concat'."
        )
    with torch.no_grad():
        made.weight.copy_(torch.cat([layer.weight, layer.weight], dim=1) / 2)
        if layer.bias is not None and made.bias is not None:
            made.bias.copy_(layer.bias)
    made.to(layer.weight.device, layer.weight.dtype)
    for p, old in zip(made.parameters(), layer.parameters(), strict=True):
        p.requires_grad_(old.requires_grad)
    parent, _, attribute = name.rpartition(".")
    setattr(encoder.get_submodule(parent), attribute, made)
