"""Tokens: what an encoder hands to a fusion module."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Tokens:
    """A batch of token sequences with the mask that says which tokens are real.

    An encoder that yields one vector has ``T = 1``. The same value carries ragged raw
    input (text ids, series of unequal length) on its way to an encoder; ``values`` may
    then be ``(B, T)`` or ``(B, T, channels)``.

    Args:
        values: the tokens, ``(B, T, D)``.
        mask: ``(B, T)`` bool, True where a token is real.

    Example:
        >>> tokens = Tokens.of(torch.ones(2, 3))
        >>> tokens.values.shape, tokens.pooled().shape
        (torch.Size([2, 1, 3]), torch.Size([2, 3]))
    """

    values: Tensor
    mask: Tensor

    @classmethod
    def of(cls, value: Tensor | Tokens) -> Tokens:
        """Wraps an encoder's output: ``(B, D)`` becomes one token a row, Tokens stay."""
        if isinstance(value, Tokens):
            return value
        return cls(value.unsqueeze(1), value.new_ones(value.shape[0], 1, dtype=torch.bool))

    def __len__(self) -> int:
        return self.values.shape[0]

    def pooled(self) -> Tensor:
        """Mean over the real tokens, ``(B, D)``; zero for a row that has none."""
        if self.values.shape[1] == 1:
            first = self.values[:, 0]
            return first if _is_whole(self.mask) else first.masked_fill(~self.mask, 0)
        mask = self.mask.unsqueeze(-1)
        total = self.values.masked_fill(~mask, 0).sum(dim=1)
        return total / mask.sum(dim=1).clamp(min=1)

    def rows(self, index: Tensor) -> Tokens:
        """The rows that ``index`` (long or bool) selects."""
        return Tokens(self.values[index], self.mask[index])

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Tokens:
        """The same tokens on another device."""
        return Tokens(
            self.values.to(device, non_blocking=non_blocking),
            self.mask.to(device, non_blocking=non_blocking),
        )

    def pin_memory(self) -> Tokens:
        """The same tokens in page-locked memory."""
        return Tokens(self.values.pin_memory(), self.mask.pin_memory())

    def keep(self, present: Tensor) -> Tokens:
        """Blanks the rows where ``present`` (B,) is False: values zero, no real token.

        Whatever stood there (NaN included) reaches neither output nor gradient.
        """
        mask = self.mask & present.unsqueeze(1)
        if _is_whole(mask):
            return Tokens(self.values, mask)
        blank = ~mask.view(*mask.shape, *([1] * (self.values.dim() - 2)))
        return Tokens(self.values.masked_fill(blank, 0), mask)

    def scatter(self, rows: Tensor, size: int) -> Tokens:
        """Spreads these rows over a batch of ``size``: row i goes to ``rows[i]``."""
        values = self.values.new_zeros(size, *self.values.shape[1:]).index_copy(
            0, rows, self.values
        )
        mask = self.mask.new_zeros(size, self.mask.shape[1]).index_copy(0, rows, self.mask)
        return Tokens(values, mask)


def _is_whole(mask: Tensor) -> bool:
    """Whether nothing is to be blanked, which spares a copy and another on the way back.

    Known without waiting on a CPU alone, and not while a graph is being traced.
    """
    return mask.device.type == "cpu" and not torch.compiler.is_compiling() and bool(mask.all())
