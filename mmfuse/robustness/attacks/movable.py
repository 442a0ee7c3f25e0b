"""Movable: which modalities' inputs an attack can follow a gradient to, and how long they are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError
from mmfuse.model import FusionModel, Towers
from mmfuse.robustness.attacks.strike import attackable
from mmfuse.robustness.attacks.surface import Part, input_part, require_gradient, surface_of
from mmfuse.robustness.attacks.threat import Norm, Threat


def movable(model: Towers, batches: Iterable[Batch]) -> dict[str, str]:
    """Of each modality that some row has why its input cannot be moved; "" where it can.

    Args:
        model: whose encoders.
        batches: rows, of which the first that has a modality is tried.
    """
    found: dict[str, str] = {}
    device = next(model.parameters()).device
    for batch in batches:
        for m in batch.modalities:
            if m not in found and len(batch.present_rows[m]):
                one = batch.rows(batch.present_rows[m][:1]).to(device)
                found[m] = _refusal(model, m, one)
    return found


def _refusal(model: Towers, modality: str, row: Batch) -> str:
    threat = Threat((modality,))
    try:
        with attackable(model), torch.enable_grad():
            part = input_part(model, modality, row, model.present(row), threat)
            moves = torch.zeros_like(part.values).requires_grad_()
            require_gradient(model, modality, moves, part.tokens(part.values + moves))
    except ConfigError as error:
        return str(error)
    return ""


def typical_lengths(
    model: FusionModel, batches: Sequence[Batch], threat: Threat
) -> dict[str, float]:
    """The median length of each modality's rows, for l-infinity divided by the root of their size.

    Args:
        model: as it reads them.
        batches: the rows.
        threat: the modalities, the norm, and whether inputs or tokens.
    """
    lengths: dict[str, list[Tensor]] = {}
    device = next(model.parameters()).device
    with attackable(model):
        for batch in batches:
            for m, part in surface_of(model, batch.to(device), threat, "").parts.items():
                lengths.setdefault(m, []).append(_lengths(part, threat.norm))
    found = {m: float(torch.cat(parts).median()) for m, parts in lengths.items()}
    # A modality of zeros has no length to take a share of; its own numbers are the measure.
    return {m: u if 0 < u < math.inf else 1.0 for m, u in found.items()}


def _lengths(part: Part, norm: Norm) -> Tensor:
    """The length of each row that has something to move, over the root of its size for linf."""
    free = part.free.flatten(1)
    some = free.any(dim=1)
    values = torch.where(free, part.values.flatten(1), 0)[some].float()
    length = values.norm(dim=1)
    return length / free[some].sum(dim=1).sqrt() if norm == "linf" else length
