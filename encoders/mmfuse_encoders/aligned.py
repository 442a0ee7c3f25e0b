"""AlignedEncoder: an encoder, most often frozen, moved into another's space by a residual head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor, nn

from mmfuse.spec import ModalitySpec
from mmfuse_encoders.headed import HeadedEncoder


class ResidualHead(nn.Module):
    """What a vector is, and a small correction of it: ``x + A PReLU(B PReLU(x))``.

    It starts as the identity, since A does at zero.

    Args:
        width: of the vectors.

    Shape:
        (B, width) -> (B, width)
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        last = nn.Linear(width, width)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.change = nn.Sequential(nn.PReLU(), nn.Linear(width, width), nn.PReLU(), last)

    def forward(self, x: Tensor) -> Tensor:
        """Corrects the rows."""
        return cast(Tensor, x + self.change(x))


class AlignedEncoder(HeadedEncoder):
    """An encoder of any kind with a residual head, which moves it into another encoder's space.

    ::

        z = x + A PReLU(B PReLU(x)),   x = W (mean token of encoder(x_raw))

    W is there only if ``out_dim`` differs from the encoder's width. With the encoder frozen and
    ``CLIPLoss(pairs="anchor:text")`` the head alone learns where the anchor's space is; features
    that were extracted once take the encoder's place, as ``IdentityEncoder``, the default, reads
    them. Until it learns, and without W, it gives what the encoder gives.

    Args:
        spec: what ``encoder`` takes.
        encoder: the name of its class, such as ``Wav2Vec2Encoder``.
        options: its arguments, by name.
        out_dim: width of the anchor's space; None for the encoder's own.
        frozen: neither encoder nor head learns. To freeze the encoder alone, put ``frozen:
            true`` into ``options``.

    Shape:
        what ``encoder`` takes -> (B, out_dim)

    Raises:
        ConfigError: no such encoder, or one that does not take the input.

    Reference: Zhang et al., "C3Net: Compound Conditioned ControlNet for Multimodal Content
        Generation", CVPR 2024, arXiv:2311.17951, stage 1.

    Departs from the authors' code: the head starts as the identity; widths may differ.
    """

    def __init__(
        self,
        spec: ModalitySpec | int | Sequence[int | None],
        encoder: str = "IdentityEncoder",
        options: dict[str, Any] | None = None,
        out_dim: int | None = None,
        frozen: bool = False,
    ) -> None:
        super().__init__(spec, encoder, options, out_dim, frozen)

    def _head(self, width: int) -> nn.Module:
        if width == self.out_dim:
            return ResidualHead(width)
        return nn.Sequential(nn.Linear(width, self.out_dim), ResidualHead(self.out_dim))
