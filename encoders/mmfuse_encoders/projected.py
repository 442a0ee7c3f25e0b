"""ProjectedEncoder: any encoder, and a head that maps what it gives into a space of a width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from mmfuse.batch import RawInput
from mmfuse.encoder import Encoder, without_pretrained_weights
from mmfuse.recorded import describe, factory
from mmfuse.spec import ModalitySpec
from mmfuse.tokens import Tokens
from mmfuse_encoders.vector import perceptron


class ProjectedEncoder(Encoder):
    """An encoder of any kind, and a perceptron above its mean token.

    So that encoders of unequal widths, pretrained and frozen ones among them, meet in one space::

        z = head(mean token of encoder(x))

    Args:
        spec: what ``encoder`` takes.
        encoder: the name of its class, such as ``ImageCNNEncoder``.
        options: its arguments, by name.
        out_dim: width of the result.
        hidden: widths of the head's hidden layers; none makes it one linear map.
        dropout: rate after every hidden layer.
        frozen: neither encoder nor head learns. To freeze the encoder alone, put ``frozen:
            true`` into ``options``.

    Shape:
        what ``encoder`` takes -> (B, out_dim)

    Raises:
        ConfigError: no such encoder, or one that does not take the input.

    Reference: for the head, Chen et al., "A Simple Framework for Contrastive Learning of Visual
        Representations", ICML 2020, arXiv:2002.05709, section 4.2.
    """

    kinds = frozenset({"vector", "table", "image", "series", "text", "tokens", "audio", "video"})
    takes_gaps = True  # or else the encoder inside refuses

    def __init__(
        self,
        spec: ModalitySpec | int | Sequence[int | None],
        encoder: str = "IdentityEncoder",
        options: dict[str, Any] | None = None,
        out_dim: int = 64,
        hidden: Sequence[int] = (),
        dropout: float = 0.0,
        frozen: bool = False,
    ) -> None:
        super().__init__(spec, out_dim, frozen)
        named = {"class_path": encoder, "init_args": options or {}}
        self.encoder: Encoder = factory(Encoder, named)(self.spec)
        self.kinds = self.encoder.kinds  # type: ignore[misc]
        self.head = perceptron(self.encoder.out_dim, hidden, out_dim, dropout)

    @classmethod
    def around(
        cls, encoder: Encoder, out_dim: int, hidden: Sequence[int] = (), dropout: float = 0.0
    ) -> ProjectedEncoder:
        """A head on an encoder that there is already."""
        named = describe(encoder, without=("spec",))
        with without_pretrained_weights():  # the encoder brings them
            made = cls(
                encoder.spec, named["class_path"], named["init_args"], out_dim, hidden, dropout
            )
        made.encoder = encoder
        return made

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
