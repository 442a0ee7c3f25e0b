"""SparseMatrix: a fixed sparse matrix as a module, whose product has a backward of its own."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from mmfuse.errors import CheckpointError, ConfigError


class SparseMatrix(nn.Module):
    """A matrix (n, m) of which few entries are not zero, and which does not learn.

    Entries are kept by rows, and once more by columns: the gradient of ``A x`` is ``A' g``, and
    with both at hand it costs what the product costs. A checkpoint carries the rows; one that is
    loaded may have any number of entries.

    Args:
        shape: (n, m); of a matrix that a checkpoint will fill (0, 0).

    Example:
        >>> matrix = SparseMatrix.of(torch.tensor([0, 1]), torch.tensor([1, 0]),
        ...                          torch.tensor([2.0, 3.0]), (2, 2))
        >>> matrix(torch.tensor([[1.0], [10.0]])).squeeze(1).tolist()
        [20.0, 3.0]
    """

    offsets: Tensor
    columns: Tensor
    values: Tensor
    size: Tensor

    def __init__(self, shape: tuple[int, int] = (0, 0)) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("offsets", torch.zeros(shape[0] + 1, dtype=torch.long))
        self.register_buffer("columns", torch.zeros(0, dtype=torch.long))
        self.register_buffer("values", torch.zeros(0))
        self.register_buffer("size", torch.tensor(shape))
        self._kept: tuple[tuple[torch.dtype, torch.device], Tensor, Tensor] | None = None

    @classmethod
    def of(
        cls, rows: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]
    ) -> SparseMatrix:
        """From the entries, in any order; those of one place add up.

        Args:
            rows: ``(E,)`` long.
            columns: ``(E,)`` long.
            values: ``(E,)`` float.
            shape: (n, m).

        Raises:
            ConfigError: a row or column outside the shape.
        """
        for name, codes, count in (("row", rows, shape[0]), ("column", columns, shape[1])):
            if len(codes) and not 0 <= int(codes.min()) <= int(codes.max()) < count:
                raise ConfigError(f"A {name} of a sparse matrix of shape {shape} is outside it.")
        keys, place = torch.unique(rows * max(shape[1], 1) + columns, return_inverse=True)
        matrix = cls(shape)
        matrix.values = values.new_zeros(len(keys)).index_add_(0, place, values)
        matrix.columns = keys % max(shape[1], 1)
        sizes = torch.bincount(keys // max(shape[1], 1), minlength=shape[0])
        matrix.offsets = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
        return matrix

    def entries(self) -> tuple[Tensor, Tensor, Tensor]:
        """Row, column and value of each entry, ascending by row, then by column."""
        rows = torch.arange(self.shape[0], device=self.columns.device)
        return torch.repeat_interleave(rows, self.offsets.diff()), self.columns, self.values

    def forward(self, x: Tensor) -> Tensor:
        """``A x``.

        Shape:
            x (m, D) -> (n, D)
        """
        made: Tensor = _Product.apply(x, *self._both(x))
        return made

    def transposed(self, x: Tensor) -> Tensor:
        """``A' x``.

        Shape:
            x (n, D) -> (m, D)
        """
        made: Tensor = _Product.apply(x, *reversed(self._both(x)))
        return made

    def _both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kind = (x.dtype, x.device)
        if self._kept is None or self._kept[0] != kind:
            rows, columns, values = self.entries()
            values = values.to(x.dtype)
            order = torch.argsort(columns, stable=True)  # rows stay ascending within a column
            sizes = torch.bincount(columns, minlength=self.shape[1])
            offsets = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
            forth = _csr(self.offsets, columns, values, self.shape)
            back = _csr(offsets, rows[order], values[order], (self.shape[1], self.shape[0]))
            self._kept = (kind, forth, back)
        return self._kept[1], self._kept[2]

    def _apply(self, fn: Any, recurse: bool = True) -> SparseMatrix:
        self._kept = None
        return super()._apply(fn, recurse)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Takes a matrix of any size."""
        found = {n: state_dict.get(prefix + n) for n in ("offsets", "columns", "values", "size")}
        for name, value in found.items():
            if value is not None:
                setattr(self, name, value.to(getattr(self, name).device))
        self.shape, self._kept = (int(self.size[0]), int(self.size[1])), None
        if len(self.offsets) != self.shape[0] + 1 or len(self.columns) != len(self.values):
            raise CheckpointError(f"The graph {prefix.rstrip('.')} of the checkpoint is damaged.")
        super()._load_from_state_dict(
            state_dict,
            prefix,
            local_metadata,
            strict,
            missing_keys,
            unexpected_keys,
            error_msgs,
        )


class _Product(torch.autograd.Function):
    """``A x`` for a matrix without gradient, and its transpose for the way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, forth: Tensor, back: Tensor) -> Tensor:
        ctx.matrices = forth, back
        return forth @ x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        forth, back = ctx.matrices
        return _Product.apply(grad.contiguous(), back, forth), None, None


def _csr(offsets: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    with warnings.catch_warnings():
        # That the support is in beta, and that entries made above are not checked.
        warnings.filterwarnings("ignore", message="Sparse ")
        return torch.sparse_csr_tensor(offsets, columns, values, shape, check_invariants=False)
