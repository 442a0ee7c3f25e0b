"""Two modalities with a planted interaction: what estimators are tried on."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mmfuse.errors import ConfigError

Interaction = Literal["redundancy", "unique1", "unique2", "synergy"]
_BLOCKS = {
    "redundancy": ("both",),
    "unique1": ("first",),
    "unique2": ("second",),
    "synergy": ("first", "second"),
}
_LATENT, _VARIANCE, _DROPPED = 5, 1.5, 0.2


def planted(
    interaction: Interaction, rows: int, classes: int = 2, width: int = 32, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Rows whose label comes from what both modalities show, one alone, or one each.

    Three blocks of 5 latent numbers, one that each modality has to itself and one that both have,
    pass a fixed random map. The label is the mean of the chosen blocks with a fifth of their
    numbers left out, cut into classes of equal size.

    Args:
        interaction: which blocks make the label.
        rows: N.
        classes: K.
        width: of each modality.
        seed: of everything.

    Raises:
        ConfigError: an interaction that is not one of the four.

    Shape:
        -> x1 (N, width), x2 (N, width), y (N,)

    Reference: Liang et al., "Quantifying & modeling multimodal interactions", NeurIPS 2023,
    arXiv:2302.12247, section 4.

    Example:
        >>> x1, x2, y = planted("synergy", rows=6, classes=3)
        >>> x1.shape, y.bincount().tolist()
        (torch.Size([6, 32]), [2, 2, 2])
    """
    if interaction not in _BLOCKS:
        raise ConfigError(f"Interaction {interaction!r} is none of {', '.join(_BLOCKS)}.")
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw)

    latent = {b: _VARIANCE**0.5 * normal(rows, _LATENT) for b in ("first", "second", "both")}
    seen = [torch.cat([latent[own], latent["both"]], dim=1) for own in ("first", "second")]
    x1, x2 = (x @ normal(2 * _LATENT, width) for x in seen)
    chosen = torch.cat([latent[b] for b in _BLOCKS[interaction]], dim=1)
    score = (chosen * (torch.rand(chosen.shape, generator=draw) >= _DROPPED)).mean(dim=1)
    return x1, x2, score.argsort().argsort() * classes // rows
