"""Rows picked from a table in memory, which are copied out late, a few at a time, or never."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from mmfuse.tokens import Tokens

#: Bytes of rows that are copied out at a time: few enough to be read from cache again.
_BLOCK_BYTES = 2 << 20


@dataclass(frozen=True, slots=True)
class PickedRows:
    """Some rows of a table of numbers, and how they are standardised.

    The copy of a few thousand wide rows, and another one less their mean, can cost as much as the
    product that reads them. An encoder that ``takes_picked`` gets these rows in its place.

    Args:
        table: ``(N, C)`` float.
        index: ``(n,)`` long, which rows.
        mean: ``(C,)`` what is subtracted from each row; None for nothing.
        scale: ``(C,)`` what it is multiplied with thereafter; None likewise.

    Example:
        >>> picked = PickedRows(torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([2, 0]))
        >>> picked.standardised(torch.tensor([1.0]), torch.tensor([2.0])).copied().tolist()
        [[6.0], [0.0]]
    """

    table: Tensor
    index: Tensor
    mean: Tensor | None = None
    scale: Tensor | None = None

    def __len__(self) -> int:
        return len(self.index)

    def rows(self, index: Tensor) -> PickedRows:
        """Some of these rows."""
        return replace(self, index=self.index[index])

    def standardised(self, mean: Tensor, scale: Tensor) -> PickedRows:
        """The same rows of a table that is not standardised yet, less ``mean``, times ``scale``."""
        return replace(self, mean=mean, scale=scale)

    def copied(self) -> Tensor:
        """``(n, C)`` the rows themselves."""
        found = self.table.index_select(0, self.index)
        if self.mean is None or self.scale is None:
            return found
        return found.sub_(self.mean).mul_(self.scale)

    def mapped(self, linear: nn.Linear) -> Tensor:
        """What a linear map makes of the rows; neither they nor their gradient are kept.

        Standardising is a part of the map::

            W ((x - m) * s) + b = (W * s) x + (b - (W * s) m)

        Shape:
            -> (n, linear.out_features)
        """
        if torch.is_autocast_enabled(self.table.device.type):
            return F.linear(self.copied(), linear.weight, linear.bias)
        weight: Tensor = linear.weight
        bias: Tensor | None = linear.bias
        if self.mean is not None and self.scale is not None:
            weight = weight * self.scale
            shift = weight @ self.mean
            bias = -shift if bias is None else bias - shift
        found: Tensor = _RowsTimes.apply(self.table, self.index, weight)
        return found if bias is None else found + bias


class _RowsTimes(torch.autograd.Function):
    """``table[index] @ weight.T`` and the gradient of weight, a block of rows at a time."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, index: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(table, index)
        found = weight.new_empty(len(index), len(weight))
        for block, rows in _blocks(table, index):
            torch.mm(rows, weight.t(), out=found[block])
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, Tensor]:
        table, index = ctx.saved_tensors
        found = gradient.new_zeros(gradient.shape[1], table.shape[1])
        for block, rows in _blocks(table, index):
            found.addmm_(gradient[block].t(), rows)
        return None, None, found


def _blocks(table: Tensor, index: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Places among the picked rows, and the rows, which hold until the next ones are asked for."""
    count = max(1, _BLOCK_BYTES // max(1, table.shape[1] * table.element_size()))
    kept = table.new_empty(min(count, len(index)), table.shape[1])
    for start in range(0, len(index), count):
        some = index[start : start + count]
        yield slice(start, start + count), torch.index_select(table, 0, some, out=kept[: len(some)])


class PickedInputs(Mapping[str, Tensor | Tokens]):
    """Inputs of some rows, each modality copied out where it is read.

    Args:
        inputs: of all rows.
        index: ``(n,)`` long, which rows.
    """

    def __init__(self, inputs: Mapping[str, Tensor | Tokens], index: Tensor) -> None:
        self.inputs, self.index = inputs, index

    def __getitem__(self, modality: str) -> Tensor | Tokens:
        value = self.inputs[modality]
        return value.rows(self.index) if isinstance(value, Tokens) else value[self.index]

    def __contains__(self, modality: object) -> bool:
        return modality in self.inputs  # Mapping's own would copy the rows to find out.

    def __iter__(self) -> Iterator[str]:
        return iter(self.inputs)

    def __len__(self) -> int:
        return len(self.inputs)

    def rows(self, index: Tensor) -> PickedInputs:
        """Some of these rows."""
        return PickedInputs(self.inputs, self.index[index])

    def picked(self, modality: str) -> Tensor | Tokens | PickedRows:
        """One modality's rows, not copied where they are vectors of floats."""
        value = self.inputs[modality]
        if isinstance(value, Tensor) and value.dim() == 2 and value.is_floating_point():
            return PickedRows(value, self.index)
        return self[modality]
