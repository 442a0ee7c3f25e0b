"""unit: vectors scaled to length one, those of length zero left as they are."""

from __future__ import annotations

import torch
from torch import Tensor


def unit(x: Tensor, eps: float = 0.0) -> Tensor:
    """``x / (|x| + eps)``, in float32 at least; a vector of length zero stays zero.

    Its gradient is finite at zero, where it is that of ``x / (1 + eps)``: a vector that all of
    an encoder's units have left can be moved again.

    Shape:
        x (..., D) -> (..., D)
    """
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / (torch.where(length > 0, length, 1) + eps)
