"""SparseMatrix: a fixed sparse matrix as a module, whose product has a backward of its own."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
        self._kept: tuple[tuple[torch.dtype, torch.device], _Rows, _Rows] | None = None

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
        keys = rows * max(shape[1], 1) + columns
        if not (keys.diff() > 0).all():
            keys, place = torch.unique(keys, return_inverse=True)
            values = values.new_zeros(len(keys)).index_add_(0, place, values)
        matrix = cls(shape)
        matrix.values = values
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

    def _both(self, x: Tensor) -> tuple[_Rows, _Rows]:
        kind = (x.dtype, x.device)
        if self._kept is None or self._kept[0] != kind:
            # Also when evaluation comes first: training will use the same tensors.
            with torch.inference_mode(False), torch.no_grad():
                rows, columns, values = self.entries()
                values = values.to(x.dtype)
                order = torch.argsort(columns, stable=True)  # rows stay ascending in a column
                sizes = torch.bincount(columns, minlength=self.shape[1])
                offsets = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
                forth = _Rows(self.offsets, columns, values, self.shape[1])
                back = _Rows(offsets, rows[order], values[order], self.shape[0])
                self._kept = (kind, forth.narrow(), back.narrow())
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


class _Rows(NamedTuple):
    """A matrix by rows."""

    offsets: Tensor
    columns: Tensor
    values: Tensor
    width: int

    def narrow(self) -> _Rows:
        """With places in 32 bits where they suffice: less memory to read in every product."""
        if max(self.width, len(self.columns)) >= 2**31:
            return self
        return self._replace(offsets=self.offsets.int(), columns=self.columns.int())

    def times(self, x: Tensor) -> Tensor:
        """The product with ``x`` (m, D)."""
        x = x.contiguous()
        if x.device.type == "cpu":
            # A sum of weighted rows, for which torch has vector code; three times as fast as its
            # product of sparse matrices, which knows no half precision either.
            return F.embedding_bag(
                self.columns,
                x,
                self.offsets,
                mode="sum",
                per_sample_weights=self.values,
                include_last_offset=True,
            )
        with warnings.catch_warnings(), torch.autocast(x.device.type, enabled=False):
            # That the support is in beta, and that the entries made above are not checked.
            warnings.filterwarnings("ignore", message="Sparse ")
            shape = (len(self.offsets) - 1, self.width)
            matrix = torch.sparse_csr_tensor(*self[:3], shape, check_invariants=False)
            return matrix @ x


class _Product(torch.autograd.Function):
    """``A x`` for a matrix without gradient, and its transpose for the way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, forth: _Rows, back: _Rows) -> Tensor:
        ctx.matrices = forth, back
        return forth.times(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        forth, back = ctx.matrices
        return _Product.apply(grad, back, forth), None, None
