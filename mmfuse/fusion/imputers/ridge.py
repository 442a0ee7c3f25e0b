"""RidgeImputer: linear regression of what is absent on what is present, for every pattern."""

from __future__ import annotations

import torch
from torch import Tensor

from mmfuse.errors import ConfigError
from mmfuse.fusion.imputers.base import FittedImputer


class RidgeImputer(FittedImputer):
    """Ridge regression from all present modalities to each absent one, in closed form.

    With standardised columns, S their correlations and N the number of training rows, a row with
    columns p present and a absent gets::

        z_a = S_ap (S_pp + penalty / N)^-1 z_p

    which, for training rows that lack nothing, is the ridge regression of a on p. One matrix
    serves every pattern, and a row costs one linear system of the width of all modalities, shared
    by the rows of its pattern. Correlations of incomplete rows are of the rows that have both; the
    matrix is then brought back to the nearest one without negative eigenvalues.

    Args:
        penalty: what is added to the sum of squares of each standardised column, as scikit-learn's
            ``alpha``.

    Raises:
        ConfigError: a penalty that is not above 0.

    Reference: Hoerl and Kennard, "Ridge Regression", Technometrics 12, 1970.
    """

    kept = ("correlation", "share")

    correlation: Tensor
    share: Tensor

    def __init__(self, penalty: float = 1.0) -> None:
        super().__init__()
        if not penalty > 0:
            raise ConfigError(f"RidgeImputer: penalty is {penalty}; expected a number above 0.")
        self.penalty = penalty

    def remember(self, z: Tensor, present: Tensor) -> dict[str, Tensor]:
        """The correlations, and the penalty's share of a row."""
        here = self.spread(present).to(z)
        correlation = z.T @ z / (here.T @ here).clamp(min=1)
        some = present[present.any(dim=1)]
        if not some.all():
            values, vectors = torch.linalg.eigh(correlation)
            correlation = (vectors * values.clamp(min=0)) @ vectors.T
        return {"correlation": correlation, "share": z.new_tensor(self.penalty / len(some))}

    def expected(self, z: Tensor, present: Tensor) -> Tensor:
        """Rows of one pattern together; in a graph that is being traced each by itself."""
        if torch.compiler.is_compiling():
            return self._solved(z.unsqueeze(1), self.spread(present)).squeeze(1)
        patterns, place = present.unique(dim=0, return_inverse=True)
        filled, here = torch.zeros_like(z), self.spread(patterns)
        for i in range(len(patterns)):
            rows = (place == i).nonzero().squeeze(1)
            found = self._solved(z[rows].unsqueeze(0), here[i].unsqueeze(0))
            filled = filled.index_copy(0, rows, found.squeeze(0))
        return filled

    def _solved(self, z: Tensor, here: Tensor) -> Tensor:
        """``z`` (P, R, D) of R rows for each of P patterns ``here`` (P, D) -> (P, R, D)."""
        correlation = self.correlation.to(z.dtype)
        both = here.unsqueeze(1) & here.unsqueeze(2)
        # Columns that are absent make a system of their own, whose solution is zero.
        identity = torch.eye(z.shape[2], dtype=z.dtype, device=z.device)
        system = correlation.masked_fill(~both, 0) + identity * torch.where(
            here, self.share.to(z.dtype), 1
        ).unsqueeze(1)
        weight = torch.linalg.solve(system, z.mT)
        return (correlation @ weight).mT
