"""Clusters of rows that lack modalities: distances over what two rows share, and k-means."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_ROUNDS = 100


def shared_distance(
    z: Tensor, present: Tensor, other: Tensor, other_present: Tensor, columns: Tensor
) -> Tensor:
    """Mean over the modalities that two rows share of their mean squared difference.

    So modalities count alike, whatever their widths. Infinite for rows that share none.

    Args:
        z: rows, standardised, zero where absent.
        present: who is there.
        other: the rows to compare with, zero where absent.
        other_present: who is there.
        columns: ``(D,)`` the modality of each column.

    Shape:
        z (B, D), present (B, M), other (N, D), other_present (N, M) -> (B, N)
    """
    of = F.one_hot(columns, present.shape[1]).to(z.dtype)
    scale = of.sum(dim=0).rsqrt()[columns]  # 1 / the square root of the modality's width
    z, other = z * scale, other * scale
    here, there = present.to(z.dtype), other_present.to(z.dtype)
    # |a - b|^2 = |a|^2 + |b|^2 - 2 a'b, the squares added up over shared modalities alone.
    squares = z.square() @ of @ there.T + here @ (other.square() @ of).T
    both = here @ there.T
    mean = (squares - 2 * z @ other.T).clamp(min=0) / both.clamp(min=1)
    return mean.masked_fill(both == 0, torch.inf)


def k_means(z: Tensor, present: Tensor, columns: Tensor, count: int, seed: int) -> Tensor:
    """Centres of the rows, each from the rows that have the modality in question.

    Lloyd's rounds from a start by k-means++. A centre has every modality: where none of its rows
    has one, its part is zero, the mean of standardised rows.

    Args:
        z: rows, standardised, zero where absent.
        present: who is there; rows with nothing are left out.
        columns: ``(D,)`` the modality of each column.
        count: how many centres; as many as rows if those are fewer.
        seed: of the start.

    Shape:
        z (N, D), present (N, M) -> (K, D)

    Reference: Lloyd, "Least squares quantization in PCM", 1982; Arthur and Vassilvitskii,
    "k-means++", SODA 2007; on incomplete rows Chi et al., "k-POD", The American Statistician
    70, 2016.
    """
    some = present.any(dim=1)
    z, present = z[some], present[some]
    here = present[:, columns]
    centres = _start(z, present, columns, min(count, len(z)), seed)
    everywhere = present.new_ones(len(centres), present.shape[1])
    chosen = None
    for _ in range(_ROUNDS):
        distance = shared_distance(z, present, centres, everywhere, columns)
        nearest = distance.argmin(dim=1)
        if chosen is not None and torch.equal(nearest, chosen):
            break
        chosen = nearest
        # A product, and no scattered sum, whose order a GPU leaves open.
        mine = F.one_hot(chosen, len(centres)).to(z.dtype).T
        number = mine @ here.to(z.dtype)
        # A centre that lost all its rows stays where it is.
        is_used = mine.any(dim=1, keepdim=True)
        centres = torch.where(is_used, mine @ z / number.clamp(min=1), centres)
    return centres


def _start(z: Tensor, present: Tensor, columns: Tensor, count: int, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    chosen = [int(torch.randint(len(z), (1,), generator=draw))]
    nearest = torch.full((len(z),), torch.inf, dtype=z.dtype, device=z.device)
    for _ in range(count - 1):
        last = z[chosen[-1:]]
        found = shared_distance(z, present, last, present[chosen[-1:]], columns).squeeze(1)
        nearest = torch.minimum(nearest, found)
        # Rows that share nothing with any centre are as far as the farthest.
        chance = nearest.masked_fill(nearest.isinf(), 0)
        chance = torch.where(nearest.isinf(), chance.max().clamp(min=1), chance)
        chance[chosen] = 0
        if not chance.any():  # all rows stand on centres
            chance = torch.ones_like(chance)
        chosen.append(int(torch.multinomial(chance.cpu(), 1, generator=draw)))
    return z[chosen].clone()
