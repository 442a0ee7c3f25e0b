"""unit: vectors scaled to length one, those of length zero left as they are."""

from __future__ import annotations

import torch
from torch import Tensor


def unit(x: Tensor, eps: float = 0.0) -> Tensor:
    """``x / (|x| + eps)``; a vector of length zero stays zero.

    Half precision is widened for the sum of squares, which would overflow, and comes back as half
    precision, so that layers of that dtype take it; contrastive losses widen what they are given.

    Its gradient is finite at zero, where it is that of ``x / (1 + eps)``: a vector that all of
    an encoder's units have left can be moved again.

    Shape:
        x (..., D) -> (..., D), of the same dtype

    Example:
        >>> unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        tensor([[0.6000, 0.8000],
                [0.0000, 0.0000]])
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    return (wide / (torch.where(length > 0, length, 1) + eps)).to(x.dtype)
