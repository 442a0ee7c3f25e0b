"""Layers that never take two inputs further apart than they were."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfuse.orthonormal import orthonormal


class MaxMin(nn.Module):
    """Sorts pairs of channels, one of the first half and one of the second.

    It moves numbers and changes none, so that no gradient is lost on the way, as it is in a ReLU.
    A channel without a partner passes.

    Shape:
        (B, C, ...) -> the same

    Reference: Anil, Lucas and Grosse, "Sorting out Lipschitz function approximation", ICML 2019,
        arXiv:1811.05381.

    Example:
        >>> MaxMin()(torch.tensor([[1.0, 5.0, 3.0, 2.0]]))
        tensor([[3., 5., 1., 2.]])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Sorts."""
        half = x.shape[1] // 2
        first, second, rest = x[:, :half], x[:, half : 2 * half], x[:, 2 * half :]
        return torch.cat([first.maximum(second), first.minimum(second), rest], dim=1)


class OrthonormalLinear(nn.Module):
    """A linear map whose rows, or columns where it widens, are orthonormal.

    Its singular values are all 1, by construction and not by iterations that only approach it:
    nothing has to be kept up to date in training, or be frozen in evaluation.

    Args:
        width: of the input.
        out_dim: of the result.

    Shape:
        (..., width) -> (..., out_dim)
    """

    def __init__(self, width: int, out_dim: int) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.randn(out_dim, width))
        self.bias = nn.Parameter(torch.zeros(out_dim))

    def forward(self, x: Tensor) -> Tensor:
        """Maps."""
        return F.linear(x, orthonormal(self.raw), self.bias)


class RescaledConv2d(nn.Module):
    """A convolution with zero padding whose kernel is scaled until its norm is at most 1.

    With J the convolution as a matrix, each input channel i of the kernel K is divided by::

        sqrt( sum_j sum_offsets | sum_o K[o, i] correlated with K[o, j] | )

    These bound the row sums of | J'J |, so that the norm of J is at most 1 for images of any size.
    Strides and cut edges take rows of J away, which raises no norm.

    Args:
        width: channels of the input.
        out_dim: channels of the result.
        kernel: its size, odd.
        stride: of the convolution.

    Shape:
        (B, width, H, W) -> (B, out_dim, ceil(H / stride), ceil(W / stride))

    Reference: Prach and Lampert, "Almost-Orthogonal Layers for Efficient General-Purpose
        Lipschitz Networks", ECCV 2022, arXiv:2208.03160.
    """

    def __init__(self, width: int, out_dim: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.raw = nn.Parameter(nn.init.orthogonal_(torch.empty(out_dim, width, kernel, kernel)))
        self.bias = nn.Parameter(torch.zeros(out_dim))

    @property
    def kernel(self) -> Tensor:
        """``(out_dim, width, k, k)`` after scaling."""
        raw = self.raw.to(torch.promote_types(self.raw.dtype, torch.float32))
        by_input = raw.transpose(0, 1)
        meeting = F.conv2d(by_input, by_input, padding=raw.shape[-1] - 1)
        squared = meeting.abs().sum(dim=(1, 2, 3)).clamp(min=torch.finfo(raw.dtype).tiny)
        return (raw * squared.rsqrt().view(-1, 1, 1)).to(self.raw.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Convolves."""
        kernel = self.kernel
        return F.conv2d(x, kernel, self.bias, self.stride, padding=kernel.shape[-1] // 2)
