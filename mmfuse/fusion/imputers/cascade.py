"""CascadeImputer: residual autoencoders in a row imagine what is absent (MMIN)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from mmfuse.errors import ConfigError
from mmfuse.fusion.imputers.base import Imputer


class Cascade(nn.Module):
    """Residual autoencoders in a row, each of which corrects what those before it made.

    ::

        x_1 = x,   x_{k+1} = x_k + decode_k(encode_k([x_k ; present])),   last x_k out

    Args:
        width: of x, D.
        flags: how many modalities, M.
        hidden: widths of an encoder's layers; a decoder's are the same in reverse.
        blocks: how many autoencoders.

    Shape:
        x (B, D), present (B, M) -> (B, D)
    """

    def __init__(self, width: int, flags: int, hidden: Sequence[int], blocks: int) -> None:
        super().__init__()
        inward = [width + flags, *hidden]
        outward = [*reversed(hidden), width]
        self.blocks = nn.ModuleList(
            nn.Sequential(*_layers(inward), nn.ReLU(), *_layers(outward)) for _ in range(blocks)
        )

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """One correction after the other."""
        flags = present.to(x.dtype)
        for block in self.blocks:
            x = x + block(torch.cat([x, flags], dim=1))
        return x


def _layers(widths: Sequence[int]) -> list[nn.Module]:
    """Linear maps with ReLU between them."""
    found: list[nn.Module] = []
    for width, out in pairwise(widths):
        found += [nn.Linear(width, out), nn.ReLU()]
    return found[:-1]


class CascadeImputer(Imputer):
    """A cascade of residual autoencoders over all modalities' vectors (MMIN, portable).

    It reads the vectors side by side, zero where absent, and the flags of who is present, and
    corrects the row block by block; see ``Cascade``. It learns from ``ImputationLoss``, which
    hides modalities and compares, with ``cycle: 1`` for the way back, and from the supervised loss
    of rows that lack something.

    Args:
        hidden: widths of each autoencoder's layers, down to its bottleneck.
        blocks: how many autoencoders.

    Raises:
        ConfigError: no block, no layer, or a width below 1.

    Reference: Zhao, Li and Jin, "Missing Modality Imagination Network for Emotion Recognition
        with Uncertain Missing Modalities", ACL 2021; for the cascade Tran et al., "Missing
        Modalities Imputation via Cascaded Residual Autoencoder", CVPR 2017.

    Departs from the authors' code: any modalities and widths; the classifier is whatever fusion is
    wrapped and reads the imagined vectors, not the bottlenecks; flags are read, too, so that zero
    is told from absent; what is present is handed on as it is, where theirs is to be imagined as
    zero.
    """

    def __init__(self, hidden: Sequence[int] = (128, 64, 32), blocks: int = 3) -> None:
        super().__init__()
        if blocks < 1 or not hidden or min(hidden) < 1:
            raise ConfigError(
                f"CascadeImputer: hidden is {list(hidden)}, blocks is {blocks}; expected one "
                "width or more of 1 or more, and 1 block or more."
            )
        self.hidden, self.count = tuple(hidden), blocks

    def build(self, dims: Mapping[str, int]) -> None:
        """Makes the cascade."""
        super().build(dims)
        self.cascade = self.twin()

    def twin(self) -> Cascade:
        """A fresh cascade of the same size, such as for the way back of a cycle."""
        return Cascade(sum(self.dims.values()), len(self.dims), self.hidden, self.count)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """What the last block leaves."""
        found: Tensor = self.cascade(x, present)
        return found
