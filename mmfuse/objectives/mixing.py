"""Mixing: rows blended with partners of the same batch, as inputs or as embeddings (mixup)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmfuse.batch import RawInput
from mmfuse.errors import ConfigError
from mmfuse.spec import ModalitySpec
from mmfuse.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Mix:
    """Which partner each row is blended with, and how much of itself it keeps.

    Args:
        partner: positions in the batch, ``(B,)`` long; a permutation.
        share: what a row keeps, ``(B,)`` from 0 to 1; 1 leaves the row as it is.
    """

    partner: Tensor
    share: Tensor

    @property
    def changed(self) -> Tensor:
        """``(B,)`` bool, the rows that become others."""
        return self.share < 1


def draw_mix(valid: Tensor, alpha: float, rate: float) -> Mix:
    """Partners by a permutation of the valid rows, shares from Beta(alpha, alpha).

    Drawn from torch's generator; a row that is not valid keeps all of itself.

    Args:
        valid: ``(B,)`` bool.
        alpha: of the Beta distribution; below 1 most shares are near 0 or 1.
        rate: how likely a row is to be mixed at all.
    """
    # Both orders have the valid rows first: sorting instead of indexing waits for no device.
    rows = (~valid).long().argsort(stable=True)
    shuffled = (torch.rand(len(valid), device=valid.device) + (~valid).float()).argsort()
    partner = torch.empty_like(rows).scatter(0, rows, shuffled)
    both = torch.full((len(valid), 2), alpha, device=valid.device)
    share = torch.distributions.Dirichlet(both, validate_args=False).sample()[:, 0]
    is_mixed = (torch.rand(len(valid), device=valid.device) < rate) & valid
    return Mix(partner, torch.where(is_mixed, share, 1.0))


def blend(x: RawInput, mix: Mix, rows: Tensor) -> RawInput:
    """The rows ``rows`` of an input, each ``share`` of itself and the rest of its partner.

    Of unequal lengths the shorter one ends in silence: its padding counts as zeros, and a
    blend has a token wherever one of the two has.

    Raises:
        ConfigError: numbers that stand for something else, such as tokens of a text.
    """
    others, share = mix.partner[rows], mix.share[rows]
    if isinstance(x, Tokens):
        own, other = x.rows(rows), x.rows(others)
        everyone = torch.ones_like(share, dtype=torch.bool)
        values = blended(own.keep(everyone).values, other.keep(everyone).values, share)
        return Tokens(values, own.mask | other.mask)
    return blended(x[rows], x[others], share)


def blended(own: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """``share * own + (1 - share) * other``, row by row.

    Raises:
        ConfigError: whole numbers.
    """
    if not own.is_floating_point():
        raise ConfigError(
            f"Inputs of type {own.dtype} cannot be mixed, as their numbers are names. Set "
            "mix='embedding'."
        )
    share = share.to(own.dtype).view(-1, *[1] * (own.dim() - 1))
    return share * own + (1 - share) * other


def require_mixable(modality: str, spec: ModalitySpec, objective: str) -> None:
    """Checks that inputs of a modality are numbers that a mean of two rows means something for.

    Raises:
        ConfigError: texts, or a table with categories.
    """
    if spec.kind == "text" or spec.categories:
        what = "text" if spec.kind == "text" else "a table with categories"
        raise ConfigError(
            f"{objective}: modality {modality!r} is {what}, whose inputs cannot be mixed. Set "
            "mix='embedding', or name pairs in which it comes second."
        )
