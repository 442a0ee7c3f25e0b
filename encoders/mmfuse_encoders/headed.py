"""HeadedEncoder: base of what stands above an encoder of any kind, on its mean token."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from mmfuse.batch import RawInput
from mmfuse.encoder import Encoder
from mmfuse.recorded import factory
from mmfuse.spec import ModalitySpec
from mmfuse.tokens import Tokens


def inner_encoder(spec: ModalitySpec, encoder: str, options: dict[str, Any] | None) -> Encoder:
    """The encoder that another one holds, from its name and arguments.

    Raises:
        ConfigError: no such encoder, or one that does not take the input.
    """
    made: Encoder = factory(Encoder, {"class_path": encoder, "init_args": options or {}})(spec)
    return made


class HeadedEncoder(Encoder):
    """Base of encoders that put a head on another's mean token. A subclass makes the head.

    Args:
        spec: what ``encoder`` takes.
        encoder: the name of its class.
        options: its arguments, by name.
        out_dim: width of the result; None for that of ``encoder``.
        frozen: neither encoder nor head learns.
    """

    kinds = frozenset({"vector", "table", "image", "series", "text", "tokens", "audio", "video"})
    takes_gaps = True  # or else the encoder inside refuses

    def __init__(
        self,
        spec: ModalitySpec | int | Sequence[int | None],
        encoder: str,
        options: dict[str, Any] | None,
        out_dim: int | None,
        frozen: bool,
    ) -> None:
        super().__init__(spec, out_dim or 0, frozen)
        self.encoder = inner_encoder(self.spec, encoder, options)
        self.kinds = self.encoder.kinds  # type: ignore[misc]
        self.out_dim = out_dim or self.encoder.out_dim
        self.head = self._head(self.encoder.out_dim)

    @abstractmethod
    def _head(self, width: int) -> nn.Module:
        """From the encoder's width to ``out_dim``."""

    def forward(self, x: Any) -> Tensor:
        """Encodes the rows and maps them."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.encoder.frozen):
            found = Tokens.of(self.encoder(x)).pooled()
        return cast(Tensor, self.head(found))

    def preprocess(self, raw: Any) -> RawInput:
        """The encoder's own."""
        return self.encoder.preprocess(raw)

    def preprocessing(self) -> dict[str, Any]:
        """The encoder's own."""
        return self.encoder.preprocessing()
