"""ImputedFusion: any fusion, with what is absent filled in from what is present."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mmfuse.errors import ConfigError
from mmfuse.fusion.base import Fused, Fusion
from mmfuse.fusion.imputers import Imputer, PlaceholderImputer
from mmfuse.recorded import factory
from mmfuse.tokens import Tokens


class ImputedFusion(Fusion):
    """Fills each absent modality with one token and hands all of them to another fusion.

    ::

        x_m    = [mean token of m ; 0] where present  (every token, if there are several)
                 [imputer(present ones)_m ; 1] where absent
        vector = fusion(x_1, ..., x_M)

    The last column is the flag that tells an imputed token from a real one; without it the fill
    itself would be the message. The inner fusion is told that everything is present, in rows that
    have anything. What a late fusion leaves out it cannot be given, and steps that read an imputed
    token are no steps of the row: votes are refused, steps are not handed on, and weights of
    absent modalities are zero.

    Imputers that keep something of the training rows see them at the start of a fit and again
    whenever encoders have changed: mmfuse's Trainer shows them; elsewhere
    ``mmfuse.imputing.fit_imputer`` does.

    Args:
        dims: width of each modality's tokens, in fusion order.
        fusion: the name of the fusion, or its dotted path.
        options: its options.
        imputer: what fills in; ``PlaceholderImputer`` by default.

    Shape:
        tokens[m].values (B, T_m, dims[m]), present (B, M) -> vector (B, D)

    Raises:
        ConfigError: a late fusion, options that the fusion does not take, or, on use, an imputer
            that has not seen the training rows.

    Example:
        >>> from mmfuse.fusion.imputers import CascadeImputer
        >>> dims = {"image": 4, "text": 3}
        >>> ImputedFusion(dims, "GatedFusion", {"out_dim": 8}, CascadeImputer()).out_dim
        8
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        fusion: str = "ConcatFusion",
        options: dict[str, Any] | None = None,
        imputer: Imputer | None = None,
    ) -> None:
        inner = _inner(fusion, {m: d + 1 for m, d in dims.items()}, options or {})
        super().__init__(dims, inner.out_dim)
        self.fusion = inner
        # A row with nothing present is this module's affair; what the inner one learned to say
        # of it must not be idle.
        self.fusion.prior = self.prior
        # A copy, as one description may make several models.
        self.imputer = copy.deepcopy(imputer) if imputer else PlaceholderImputer()
        self.imputer.build(dims)

    def fuse(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """Fills in, then fuses."""
        filled = self.imputer.split(self.impute(self.joined(tokens), present))
        anyone = present.any(dim=1)
        given = {
            m: _with_flag(t, filled[m], present[:, i], anyone)
            for i, (m, t) in enumerate(tokens.items())
        }
        fused = self.fusion(given, anyone.unsqueeze(1).expand_as(present))
        weights = None if fused.weights is None else fused.weights.masked_fill(~present, 0)
        return replace(fused, steps=None, step_present=None, step_modality=None, weights=weights)

    def joined(self, tokens: Mapping[str, Tokens]) -> Tensor:
        """Mean tokens side by side, ``(B, sum of dims)``; blank tokens are zero.

        Shape:
            tokens[m].values (B, T_m, dims[m]), every modality in fusion order
        """
        return torch.cat([t.pooled() for t in tokens.values()], dim=1)

    def impute(self, x: Tensor, present: Tensor) -> Tensor:
        """The imputer's rows; see ``Imputer``.

        Shape:
            x (B, sum of dims), zero where absent; present (B, M) -> (B, sum of dims)
        """
        found: Tensor = self.imputer(x, present)
        return found


def _inner(fusion: str, dims: dict[str, int], options: Mapping[str, Any]) -> Fusion:
    make = factory(Fusion, fusion)
    try:
        found: Fusion = make(dims, **options)
    except TypeError as error:
        if "argument" not in str(error):
            raise
        raise ConfigError(f"ImputedFusion: {fusion}: {error}. Check its options.") from error
    if found.is_late:
        raise ConfigError(
            f"ImputedFusion: {fusion} judges each modality alone and leaves absent ones out, so "
            "that there is nothing to fill in. Use it as it is, or another fusion here."
        )
    return found


def _with_flag(tokens: Tokens, filled: Tensor, here: Tensor, anyone: Tensor) -> Tokens:
    """The tokens, or one imputed token in their first place, each with its flag."""
    values, lacks = tokens.values, (~here & anyone).unsqueeze(1)
    first = torch.where(lacks, filled, values[:, 0]).unsqueeze(1)
    values = torch.cat([first, values[:, 1:]], dim=1)
    flag = lacks.unsqueeze(2).expand(-1, values.shape[1], 1).to(values.dtype)
    is_first = nn.functional.pad(lacks, (0, values.shape[1] - 1))
    return Tokens(torch.cat([values, flag], dim=2), tokens.mask | is_first)
