"""ProjectedEncoder: any encoder, and a head that maps what it gives into a space of a width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from mmfuse.encoder import Encoder, without_pretrained_weights
from mmfuse.recorded import describe
from mmfuse.spec import ModalitySpec
from mmfuse_encoders.headed import HeadedEncoder
from mmfuse_encoders.vector import perceptron


class ProjectedEncoder(HeadedEncoder):
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
        self.hidden, self.dropout = tuple(hidden), dropout
        super().__init__(spec, encoder, options, out_dim, frozen)

    def _head(self, width: int) -> nn.Module:
        return perceptron(width, self.hidden, self.out_dim, self.dropout)

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
