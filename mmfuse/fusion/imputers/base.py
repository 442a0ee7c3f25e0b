"""The imputer contract: vectors of the present modalities -> vectors of the absent ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmfuse.errors import ConfigError, DataError
from mmfuse.recorded import Recorded, describe


class Imputer(nn.Module, Recorded, ABC):
    """Base of all imputers. All modalities' vectors stand side by side, in fusion order.

    With D the sum of their widths a row is ``(D,)``, zero where a modality is absent. An imputer
    gives a whole row; the columns of absent modalities alone are read by ``ImputedFusion``.
    """

    #: Whether it must see the training rows, in ``fit``, before it can serve.
    is_fitted = False

    def build(self, dims: Mapping[str, int]) -> None:
        """Makes what the imputer needs for modalities of these widths; called once."""
        self.dims = dict(dims)
        columns = [i for i, d in enumerate(dims.values()) for _ in range(d)]
        self.register_buffer("columns", torch.tensor(columns), persistent=False)

    @abstractmethod
    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """Fills in rows.

        What it gives for a row with nothing present does not matter, as long as it and its
        gradient are finite.

        Args:
            x: the vectors, zero where absent.
            present: who is there.

        Shape:
            x (B, D), present (B, M) -> (B, D)
        """

    def spread(self, present: Tensor) -> Tensor:
        """``(B, M)`` for modalities as ``(B, D)`` for columns."""
        return present[:, self.get_buffer("columns")]

    def split(self, x: Tensor) -> dict[str, Tensor]:
        """``(B, D)`` as one ``(B, dims[m])`` a modality."""
        return dict(zip(self.dims, x.split(list(self.dims.values()), dim=1), strict=True))

    def extra_repr(self) -> str:
        """Its options, so that records of two runs tell imputers apart."""
        return ", ".join(f"{k}={v!r}" for k, v in describe(self)["init_args"].items())


class FittedImputer(Imputer):
    """Base of imputers that keep something of the training rows, and keep it in the checkpoint.

    It works on standardised columns: zero where absent is then the training mean. A subclass
    writes ``remember`` and ``expected``, and names its buffers in ``kept``.

    Raises:
        ConfigError: on use, before it has been fitted.
    """

    is_fitted = True
    #: Names of the buffers that ``remember`` fills.
    kept: tuple[str, ...] = ()

    mean: Tensor
    std: Tensor

    def build(self, dims: Mapping[str, int]) -> None:
        """Makes room for what it will keep; empty until ``fit``."""
        super().build(dims)
        for name in ("mean", "std", *self.kept):
            self.register_buffer(name, torch.zeros(0))

    @torch.no_grad()
    def fit(self, x: Tensor, present: Tensor) -> None:
        """Looks at the training rows; what it knew before is forgotten.

        Args:
            x: their vectors; what stands in an absent modality's columns is not read.
            present: who is there.

        Shape:
            x (N, D), present (N, M)

        Raises:
            DataError: there is no row with anything present, or a number that is not finite.
        """
        if not present.any():
            raise DataError(
                f"{type(self).__name__} was given {len(x)} training rows, none with a modality. "
                "Give rows that have some."
            )
        here = self.spread(present)
        x = x.double().masked_fill(~here, 0)
        if not x.isfinite().all():
            raise DataError(
                f"{type(self).__name__}: the encoders give numbers that are not finite for some "
                "training rows. Lower the learning rate, or standardise the inputs."
            )
        count = here.sum(dim=0).clamp(min=1)
        mean = x.sum(dim=0) / count
        centred = (x - mean).masked_fill(~here, 0)
        std = (centred.square().sum(dim=0) / count).sqrt()
        # A column that does not vary says nothing, and stays at its mean.
        std = torch.where(std > 1e-9 * mean.abs().clamp(min=1), std, 1)
        self._keep("mean", mean)
        self._keep("std", std)
        for name, value in self.remember(centred / std, present).items():
            self._keep(name, value)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """The expectation of the subclass, in the units of the encoders."""
        if not len(self.mean):
            raise ConfigError(
                f"{type(self).__name__} has not seen the training rows. mmfuse's Trainer shows "
                "them; without it call mmfuse.imputing.fit_imputer(model, batches)."
            )
        kind = torch.promote_types(x.dtype, torch.float32)  # half precision has no linear algebra
        mean, std = self.mean.to(kind), self.std.to(kind)
        z = ((x.to(kind) - mean) / std).masked_fill(~self.spread(present), 0)
        return (self.expected(z, present) * std + mean).to(x.dtype)

    @abstractmethod
    def remember(self, z: Tensor, present: Tensor) -> dict[str, Tensor]:
        """What to keep of the training rows, by the names in ``kept``.

        Shape:
            z (N, D) float64, standardised, zero where absent; present (N, M)
        """

    @abstractmethod
    def expected(self, z: Tensor, present: Tensor) -> Tensor:
        """Standardised rows, filled in; shapes as ``forward``."""

    def _keep(self, name: str, value: Tensor) -> None:
        """In the precision and on the device of the model, which its empty buffers follow."""
        setattr(self, name, value.to(self.get_buffer(name)))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Makes room for as many rows as the checkpoint has."""
        for name in ("mean", "std", *self.kept):
            if (found := state_dict.get(prefix + name)) is not None:
                setattr(self, name, self.get_buffer(name).new_empty(found.shape))
        super()._load_from_state_dict(state_dict, prefix, *rest)
