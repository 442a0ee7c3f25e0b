"""Spectra: latents and tokens in the frequency domain, and the rules that merge latents."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Rule = Literal["harmonic", "sum", "mean", "product"]
# A magnitude below it counts as it, so that a reciprocal stays finite.
_LEAST = 1e-12
# Phasors whose mean is shorter cancel. Latents are real before their transform, so that the
# frequencies 0 and C/2 have phases 0 and pi alone, and two blocks cancel there to rounding.
_CANCELLED = 1e-4


class Spectrum(NamedTuple):
    """Complex latents ``(..., C, D)``, in two parts as complex numbers lack half precision."""

    real: Tensor
    imag: Tensor


def latent_spectrum(latent: Tensor) -> Spectrum:
    """Fourier transform of real latents ``(..., C, D)`` along their channels C."""
    # Transforms in half precision exist on few devices and for few lengths.
    wide = latent.to(torch.promote_types(latent.dtype, torch.float32))
    found = torch.fft.fft(wide, dim=-2)
    return Spectrum(found.real.to(latent.dtype), found.imag.to(latent.dtype))


def normalised(z: Spectrum) -> Spectrum:
    """The transform of latents whose columns have been brought to unit length.

    Between two layers the latents go back by the inverse transform, are divided by each
    column's norm, and come forth again. Both transforms are linear along the channels and
    keep norms but for a factor (Parseval), so that this is the same::

        FFT(l / |l|) = z sqrt(C) / |z|        with l = IFFT(z), |.| over the channels
    """
    square = (z.real.square() + z.imag.square()).sum(dim=-2, keepdim=True)
    scale = math.sqrt(z.real.shape[-2]) * square.clamp(min=_LEAST**2).rsqrt()
    return Spectrum(z.real * scale, z.imag * scale)


def token_spectrum(values: Tensor, mask: Tensor) -> Tensor:
    """Real part of the Fourier transform of each row's real tokens, however it is padded.

    The transform has the length of the row's own tokens, and the frequency k stands where
    the k-th of them stood, so that the mask holds for the result too::

        y_k = sum_{t < n} cos(2 pi k t / n) x_t

    Rows differ in n, hence a product with a matrix for each row, of cost T^2 D.

    Shape:
        values (B, T, D), zero where mask (B, T) is False -> (B, T, D), zero there too
    """
    if values.shape[1] == 1:
        return values
    place = mask.long().cumsum(dim=1) - 1
    count = mask.sum(dim=1).clamp(min=1)[:, None, None]
    turns = (place.unsqueeze(2) * place.unsqueeze(1)) % count  # whole numbers: no rounding
    exact = torch.promote_types(values.dtype, torch.float32)
    wave = (turns.to(exact) * (2 * math.pi) / count).cos()
    is_real = mask.unsqueeze(2) & mask.unsqueeze(1)
    return wave.masked_fill(~is_real, 0).to(values.dtype) @ values


def harmonic(z: Spectrum, weights: Tensor) -> Spectrum:
    """Weighted harmonic mean of the magnitudes, circular mean of the phases.

    ::

        |z| = sum a / sum (a / |z_m|)        phase = angle(sum a z_m / |z_m|)

    Where the phasors cancel there is no phase; the result is zero there.
    """
    a = weights[..., None, None]
    size = _size(z)
    total = a.sum(dim=1).clamp(min=_LEAST)
    magnitude = total / (a / size).sum(dim=1).clamp(min=_LEAST)
    # Blocks that count for nothing leave 0 / 0 so; the caller drops the row.
    real, imag = ((a * part / size).sum(dim=1) / total for part in z)
    shrunk = magnitude * (real.square() + imag.square()).clamp(min=_CANCELLED**2).rsqrt()
    return Spectrum(shrunk * real, shrunk * imag)


def weighted_sum(z: Spectrum, weights: Tensor) -> Spectrum:
    """Sum of ``a z_m``."""
    a = weights[..., None, None]
    return Spectrum((a * z.real).sum(dim=1), (a * z.imag).sum(dim=1))


def weighted_mean(z: Spectrum, weights: Tensor) -> Spectrum:
    """Sum of ``a z_m`` over the sum of ``a``."""
    return weighted_sum(z, weights / weights.sum(dim=1, keepdim=True).clamp(min=_LEAST))


def product(z: Spectrum, weights: Tensor) -> Spectrum:
    """Complex product of the latents whose weight is not zero."""
    counts = (weights > 0)[..., None, None]
    reals = torch.where(counts, z.real, 1).unbind(dim=1)
    imags = torch.where(counts, z.imag, 0).unbind(dim=1)
    real, imag = reals[0], imags[0]
    for a, b in zip(reals[1:], imags[1:], strict=True):
        real, imag = real * a - imag * b, real * b + imag * a
    return Spectrum(real, imag)


def _size(z: Spectrum) -> Tensor:
    return (z.real.square() + z.imag.square()).clamp(min=_LEAST**2).sqrt()


#: How complex latents (B, M, C, D) with weights (B, M), zero where absent, become one (B, C, D).
RULES: dict[Rule, Callable[[Spectrum, Tensor], Spectrum]] = {
    "harmonic": harmonic,
    "sum": weighted_sum,
    "mean": weighted_mean,
    "product": product,
}
