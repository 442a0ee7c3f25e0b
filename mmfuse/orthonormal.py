"""Matrices with orthonormal rows or columns, as a function of parameters without constraint."""

from __future__ import annotations

import torch
from torch import Tensor


def orthonormal(raw: Tensor) -> Tensor:
    """The matrix with orthonormal rows, or columns where it is tall, that belongs to ``raw``.

    The rows of ``raw`` made orthonormal one after the other (Gram-Schmidt, by a QR
    decomposition), each keeping its direction as far as those before it allow. A gradient step
    on ``raw`` therefore never leaves the set. It is a function and no parametrisation of
    ``torch.nn.utils.parametrizations``, since a module with one of these cannot be pickled.

    In float32 at least, then in the type of ``raw``.

    Shape:
        raw (..., K, D) -> (..., K, D), W W' = 1 for K <= D, else W' W = 1

    Example:
        >>> rows = orthonormal(torch.tensor([[3.0, 0.0], [1.0, 2.0]]))
        >>> (rows.abs() < 1e-6).tolist()
        [[False, True], [True, False]]
    """
    wide = raw.shape[-2] <= raw.shape[-1]
    exact = raw.to(torch.promote_types(raw.dtype, torch.float32))
    q, r = torch.linalg.qr(exact.mT if wide else exact)
    # QR is unique once the diagonal of R is positive.
    sign = torch.where(r.diagonal(dim1=-2, dim2=-1) < 0, -1, 1).to(q.dtype)
    q = q * sign.unsqueeze(-2)
    return (q.mT if wide else q).to(raw.dtype)
