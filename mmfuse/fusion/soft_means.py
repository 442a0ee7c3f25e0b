"""soft_means: what tokens of width one see of each other, without the square of their scores."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

#: Rows at a time: so many that a call costs little, so few that they stay in the cache.
_ROWS = 2048
#: The largest exponent that is expanded; the degree needed grows with it.
_REACH = 40.0


def soft_means(t: Tensor, y: Tensor) -> Tensor:
    """Attention whose queries, keys and values are numbers::

        m_p = sum_r softmax_r(t_p y_r) y_r

    This is the slope at ``t_p`` of ``log Z(t)``, ``Z(t) = sum_r exp(t y_r)``, one function of one
    number a row. With c the middle of a row's y and h half their spread, u = (y - c) / h lies
    within -1 and 1, and for s = t h::

        Z  ~  sum_k s^k / k! sum_r u_r^k,   m = c + h Z'(s) / Z(s)

    A few dozen power sums of D numbers then do the work of D x D exponentials, and so they do
    for the gradient. Nothing is lost: as the ends of u are -1 and 1, Z is ``exp |s|`` at least,
    which no partial sum exceeds, and the series ends where what it leaves out is below the
    rounding of that. Rows whose exponents are large, and devices other than a CPU, take
    the softmax as it stands. At least float32 is computed with.

    Shape:
        t (B, P), y (B, D) -> (B, P)
    """
    kind = torch.promote_types(t.dtype, y.dtype)
    t, y = (x.to(torch.promote_types(kind, torch.float32)) for x in (t, y))
    if t.device.type != "cpu" or torch.compiler.is_compiling():
        return _plain(t, y).to(kind)
    with torch.no_grad():
        reach = t.abs().amax(dim=1) * (y.amax(dim=1) - y.amin(dim=1)) / 2
        is_near = reach <= _REACH
    if not is_near.any():
        return _plain(t, y).to(kind)
    if is_near.all():
        found: Tensor = _Series.apply(t, y)
        return found.to(kind)
    near, far = (rows.nonzero().squeeze(1) for rows in (is_near, ~is_near))
    found = torch.zeros_like(t).index_copy(0, near, _Series.apply(t[near], y[near]))
    return found.index_copy(0, far, _plain(t[far], y[far])).to(kind)


def _plain(t: Tensor, y: Tensor) -> Tensor:
    query, key = t.unsqueeze(2), y.unsqueeze(2)
    return F.scaled_dot_product_attention(query, key, key, scale=1.0).squeeze(2)


class _Series(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, t: Tensor, y: Tensor) -> Tensor:
        means = torch.empty_like(t)
        ctx.kept = []
        for start in range(0, len(t), _ROWS):
            block = slice(start, start + _ROWS)
            kept = _kept(t[block], y[block])
            means[block] = torch.addcmul(kept.middle, kept.half, kept.mean)
            ctx.kept.append(kept)
        return means

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """With p = exp(s_p u_r) / Z_p, y_r gets sum_p p (a_p + b_p u_r), again by power sums."""
        for_t, for_y = [], []
        for kept, g in zip(ctx.kept, gradient.split(_ROWS), strict=True):
            for_t.append(g * kept.variance * kept.half.square())
            b = g * kept.s
            terms = torch.stack([torch.addcmul(g, b, kept.mean, value=-1), b]) / kept.total
            of_a, of_b = [], []
            for k in range(1, kept.degree + 2):
                a_k, b_k = terms.sum(dim=2, keepdim=True)
                of_a.append(a_k)
                of_b.append(b_k)
                terms.mul_(kept.s).div_(k)
            made = of_b[-1].expand_as(kept.u)
            for a_k, b_k in zip(of_a[:0:-1], of_b[-2::-1], strict=True):
                made = torch.addcmul(a_k + b_k, made, kept.u)
            for_y.append(torch.addcmul(of_a[0], made, kept.u))
        return torch.cat(for_t), torch.cat(for_y)


class _Kept(NamedTuple):
    """What the way back needs of a block of rows: ``(B, P)`` or ``(B, D)``, and ``(B, 1)``."""

    s: Tensor
    u: Tensor
    middle: Tensor
    half: Tensor
    total: Tensor
    mean: Tensor
    variance: Tensor
    degree: int


def _kept(t: Tensor, y: Tensor) -> _Kept:
    low, high = y.amin(dim=1, keepdim=True), y.amax(dim=1, keepdim=True)
    middle, half = (low + high) / 2, (high - low) / 2
    half = torch.where(half > 0, half, 1)
    s, u = t * half, (y - middle) / half
    degree = _degree(float(s.abs().max()), torch.finfo(t.dtype).eps)
    power, sums = torch.ones_like(u), []
    for _ in range(degree + 3):
        sums.append(power.sum(dim=1, keepdim=True))
        power.mul_(u)
    # Z, Z' and Z'' at once: their coefficients are the sums from the first, second and third on.
    of = torch.stack(sums)
    z = of[degree : degree + 3].expand(3, *s.shape)
    for k in range(degree, 0, -1):
        z = torch.addcmul(of[k - 1 : k + 2], z, s, value=1 / k)
    mean = z[1] / z[0]
    variance = z[2] / z[0] - mean.square()
    return _Kept(s, u, middle, half, z[0], mean, variance, degree)


def _degree(reach: float, rounding: float) -> int:
    """Where ``reach^k / k!`` falls below the rounding of ``exp(reach)``, past its largest."""
    degree, term = 0, math.exp(-reach)
    while degree < reach or term > rounding / 4:
        degree += 1
        term *= reach / degree
    return degree
