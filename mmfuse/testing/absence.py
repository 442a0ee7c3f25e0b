"""What a fusion module promises about absent modalities."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from mmfuse.fusion.base import Fusion
from mmfuse.testing.fused import FusionSubject, by_row, flat, rows_of
from mmfuse.testing.promises import require, require_equal, require_finite
from mmfuse.testing.values import DIMS, GARBAGE, ROUNDING, gradients
from mmfuse.tokens import Tokens


def nothing_leaks(subject: FusionSubject) -> None:
    """What stands in an absent slot or under padding changes no output and no gradient."""
    for mode in (False, True):
        fusion, tokens = subject.build().train(mode), subject.tokens()
        expected = _trace(fusion, tokens, subject.present)
        for garbage in GARBAGE:
            spoilt = _spoilt(tokens, subject.present, garbage)
            when = f"with {garbage} where nothing is, in {'training' if mode else 'eval'} mode"
            require_equal(_trace(fusion, spoilt, subject.present), expected, when)


def _spoilt(tokens: dict[str, Tokens], present: Tensor, garbage: float) -> dict[str, Tokens]:
    """Garbage in absent slots and padding; an absent row's mask is turned round as well."""
    spoilt = {}
    for (m, t), here in zip(tokens.items(), present.unbind(dim=1), strict=True):
        values = t.values.masked_fill(~t.keep(here).mask.unsqueeze(-1), garbage)
        spoilt[m] = Tokens(values, t.mask ^ ~here.unsqueeze(1))
    return spoilt


def _trace(fusion: Fusion, tokens: dict[str, Tokens], present: Tensor) -> dict[str, Tensor]:
    """Outputs, gradients (inputs included) and buffers after one call under a fixed seed."""
    fusion = copy.deepcopy(fusion)
    torch.manual_seed(1)
    leaves = {m: Tokens(t.values.clone().requires_grad_(), t.mask) for m, t in tokens.items()}
    outputs = flat(fusion(leaves, present))
    inputs = [(f"tokens[{m!r}]", t.values) for m, t in leaves.items()]
    found = gradients(outputs, fusion, inputs)
    buffers = {f"buffer {n}": b for n, b in fusion.named_buffers()}
    return {**{n: v.detach() for n, v in outputs.items()}, **found, **buffers}


def padding_means_nothing(subject: FusionSubject) -> None:
    """Longer padding changes no output beyond rounding."""
    fusion, tokens = subject.build(), subject.tokens()
    longer = {
        m: Tokens(
            torch.cat([t.values, t.values.new_full((len(t), 2, t.values.shape[2]), 7.0)], dim=1),
            torch.cat([t.mask, t.mask.new_zeros(len(t), 2)], dim=1),
        )
        for m, t in tokens.items()
    }
    expected = flat(fusion(tokens, subject.present))
    found = flat(fusion(longer, subject.present))
    require_equal(found, expected, "with two more padding tokens", ROUNDING)


def row_by_row(subject: FusionSubject) -> None:
    """In eval mode a batch equals its rows one at a time: no row changes another's output."""
    fusion, tokens, present = subject.build(), subject.tokens(), subject.present
    whole = by_row(fusion(tokens, present))
    for i in range(len(present)):
        row = torch.tensor([i])
        alone = by_row(fusion(rows_of(tokens, row), present[row]))
        expected = {name: value[row] for name, value in whole.items()}
        alone = {name: alone[name] for name in expected}
        require_equal(alone, expected, f"for row {i} alone, not among others", ROUNDING)


def all_absent_is_the_prior(subject: FusionSubject) -> None:
    """A row with nothing present gets the learned prior, finite, and the prior learns from it."""
    for mode in (False, True):
        fusion = subject.build().train(mode)
        nobody = torch.zeros_like(subject.present)
        for tokens in ({}, subject.tokens()):
            outputs = flat(fusion(tokens, nobody))
            prior = fusion.prior.detach().expand(len(nobody), -1)
            require_equal(
                {"vector": outputs["vector"].detach()}, {"vector": prior}, "from the prior"
            )
            require_finite(outputs, "when nothing is present")
            found = gradients({"vector": outputs["vector"]}, fusion)
            require_finite(found, "when nothing is present")
            learns = found.get("gradient of prior")
            require(learns is not None and bool(learns.any()), "no gradient for the prior")
        mixed = fusion(subject.tokens(), subject.present).vector[0]
        require_equal({"vector": mixed}, {"vector": prior[0]}, "from the prior in a mixed batch")


def any_subset_works(subject: FusionSubject) -> None:
    """Every subset of the modalities gives finite outputs and gradients."""
    for mode in (False, True):
        fusion, tokens = subject.build().train(mode), subject.tokens()
        for pattern in subject.present:
            names = [m for m, here in zip(DIMS, pattern, strict=True) if here]
            present = pattern.expand(len(subject.present), -1)
            outputs = flat(fusion(tokens, present))
            require_finite(outputs, f"with {names} present")
            require_finite(gradients(outputs, fusion), f"with {names} present")


def left_out_is_absent(subject: FusionSubject) -> None:
    """A modality left out of ``tokens`` equals the same modality absent in every row."""
    fusion, tokens = subject.build(), subject.tokens()
    for i, m in enumerate(DIMS):
        present = subject.present.clone()
        present[:, i] = False
        expected = flat(fusion(tokens, present))
        others = {n: t for n, t in tokens.items() if n != m}
        for claimed in (present, subject.present):
            found = flat(fusion(others, claimed))
            require_equal(found, expected, f"with {m!r} left out", ROUNDING)


def weights_are_zero_where_absent(subject: FusionSubject) -> None:
    """Weights, if the method has them, are ``(B, M)``, finite, and zero where absent."""
    fusion = subject.build()
    weights = fusion(subject.tokens(), subject.present).weights
    if weights is None:
        return
    require(
        weights.shape == subject.present.shape,
        f"weights of shape {tuple(weights.shape)} for present {tuple(subject.present.shape)}",
    )
    require_finite({"weights": weights}, "in eval mode")
    require((weights[~subject.present] == 0).all(), "a weight other than zero where absent")


#: The promises about absence, in the order in which they are checked.
ABSENCE_CHECKS = (
    nothing_leaks,
    padding_means_nothing,
    row_by_row,
    all_absent_is_the_prior,
    any_subset_works,
    left_out_is_absent,
    weights_are_zero_where_absent,
)
