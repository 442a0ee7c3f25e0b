"""Said: what a model says of a batch, as a term of distillation compares it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.distillation.masks import Mask
from mmfuse.errors import ConfigError
from mmfuse.model import FusionModel, Output
from mmfuse.tokens import Tokens

#: What the vector that a fusion gives is called beside the modalities' names.
FUSED = "fused"


@dataclass(frozen=True, slots=True)
class Said:
    """What one model says of a batch.

    Args:
        logits: each target's scores, ``(B, out_dim)``.
        vectors: each modality's mean token by its name, ``(B, D)``, zero where absent, and the
            fused vector as ``fused``.
        seen: ``(B,)`` bool for each vector, the rows that have it.
        counted: ``(B,)`` bool, the rows of which the model can tell the student something.
    """

    logits: Mapping[str, Tensor]
    vectors: Mapping[str, Tensor]
    seen: Mapping[str, Tensor]
    counted: Tensor

    @classmethod
    def of(cls, tokens: Mapping[str, Tokens], output: Output, counted: Tensor) -> Said:
        """What is in a model's tokens and output."""
        vectors = {m: t.pooled() for m, t in tokens.items()}
        seen = {m: t.mask.any(dim=1) for m, t in tokens.items()}
        return cls(
            output.logits,
            vectors | {FUSED: output.fused.vector},
            seen | {FUSED: torch.ones_like(counted)},
            counted,
        )


def widths_of(model: FusionModel) -> dict[str, int]:
    """The width of each vector that ``Said`` holds of a model."""
    return {**model.dims, FUSED: model.fusion.out_dim}


def require_vector(who: str, name: str, of: str, model: FusionModel) -> None:
    """Checks that a model has a vector.

    Raises:
        ConfigError: it has none of this name.
    """
    if name not in widths_of(model):
        raise ConfigError(
            f"{who}: the {of} has no vector {name!r}; it has {list(widths_of(model))}. Name one of "
            "them."
        )


def say(model: FusionModel, batch: Batch, masks: Sequence[Mask], counted: Tensor) -> list[Said]:
    """What a model says as it is, and then under each mask alone; rows are encoded once.

    Args:
        model: reads what it knows of the batch.
        batch: the rows.
        masks: each is active by itself, never with another.
        counted: as in ``Said``.
    """
    own = batch.only(model.modalities)
    present = model.present(own)
    tokens = model.encode(own)
    fused = model.fuse(tokens, present)
    plain = model.read(fused, present)
    found = [Said.of(tokens, plain, counted)]
    for mask in masks:
        if mask.site == FUSED:
            changed, output = tokens, model.read(replace(fused, vector=mask(fused.vector)), present)
        else:
            changed = dict(tokens)
            if mask.site in tokens:
                changed[mask.site] = mask.over(tokens[mask.site])
            output = model.read(model.fuse(changed, present), present)
        found.append(Said.of(changed, output, counted))
    return found


def can_tell(batch: Batch, teacher: Sequence[str], student: Sequence[str]) -> Tensor:
    """The rows that a teacher knows otherwise than a student: both see some, and not the same.

    Where both read the same modalities, all the rows of which they see one.

    Args:
        batch: the rows.
        teacher: modalities that it reads.
        student: modalities that it reads.

    Shape:
        -> (B,) bool
    """
    sees = [batch.only(names).present.any(dim=1) for names in (teacher, student)]
    both = sees[0] & sees[1]
    if differing := set(teacher) ^ set(student):
        return both & batch.only(sorted(differing)).present.any(dim=1)
    return both
