"""check_fusion: every promise of a fusion module, checked."""

from __future__ import annotations

import functools
import itertools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mmfuse.errors import ConfigError, UnknownModalityError
from mmfuse.fusion.base import Fusion
from mmfuse.model import FusionModel
from mmfuse.spec import DataSpec, ModalitySpec, TargetSpec
from mmfuse.testing.absence import ABSENCE_CHECKS
from mmfuse.testing.fused import FusionSubject, flat, rows_of
from mmfuse.testing.module import MODULE_CHECKS, check_gradient, gradient_is_right
from mmfuse.testing.promises import keep_promises, name_of, require, require_equal
from mmfuse.testing.steps import STEP_CHECKS
from mmfuse.testing.values import (
    DIMS,
    GARBAGE,
    RAW_WIDTH,
    ROUNDING,
    TARGETS,
    affine_encoders,
    spoilt_batch,
    stirred,
    vector_batch,
)
from mmfuse.tokens import Tokens


def check_fusion(make: Callable[..., Fusion], **options: Any) -> None:
    """Checks every promise of a fusion module.

    Args:
        make: the class, or anything else that takes ``dims`` and gives the module.
        options: further arguments of ``make``; small widths make the checks quick.

    Raises:
        ConformanceError: with every promise that is broken and what was found.

    Example:
        >>> from mmfuse.fusion import ConcatFusion
        >>> check_fusion(ConcatFusion, out_dim=4, hidden=0)
    """
    subject = FusionSubject(functools.partial(make, **options))
    keep_promises(name_of(make, options), subject, [is_a_fusion])
    keep_promises(name_of(make, options), subject, FUSION_CHECKS)


def is_a_fusion(subject: FusionSubject) -> None:
    """Called with ``dims`` it gives a Fusion."""
    fusion = subject.make(dict(DIMS))
    require(isinstance(fusion, Fusion), f"a {type(fusion).__name__}")


def declared_width(subject: FusionSubject) -> None:
    """``out_dim`` is the width of the vector (and of steps and votes), one row for each row."""
    fusion = subject.build()
    outputs = subject.outputs(fusion)
    rows, count = subject.present.shape
    require(
        outputs["vector"].shape == (rows, fusion.out_dim),
        f"vector {tuple(outputs['vector'].shape)} with out_dim {fusion.out_dim}, {rows} rows",
    )
    if "votes" in outputs:
        require(
            outputs["votes"].shape == (rows, count, fusion.out_dim),
            f"votes {tuple(outputs['votes'].shape)} with out_dim {fusion.out_dim}",
        )
    for name, value in outputs.items():
        require(not name.startswith("losses") or value.dim() == 0, f"{name} is not a scalar")
    require(fusion.dims == DIMS, f"dims {fusion.dims}, built for {DIMS}")


def unknown_modality_is_refused(subject: FusionSubject) -> None:
    """Tokens of a modality that ``dims`` does not name raise UnknownModalityError."""
    fusion, tokens = subject.build(), subject.tokens()
    try:
        fusion({**tokens, "unknown": tokens["a"]}, subject.present)
    except UnknownModalityError:
        return
    require(False, "no error")


def no_modality_is_refused(subject: FusionSubject) -> None:
    """Building for no modality at all raises ConfigError."""
    try:
        subject.make({})
    except ConfigError:
        return
    require(False, "no error")


def one_modality_is_enough(subject: FusionSubject) -> None:
    """A fusion of one modality works."""
    fusion = subject.make({"a": DIMS["a"]}).double().eval()
    vector = fusion({"a": subject.tokens()["a"]}, subject.present[:, :1]).vector
    require(vector.isfinite().all(), "a vector that is not finite")


def tokens_come_in_any_order(subject: FusionSubject) -> None:
    """The order in which the mapping ``tokens`` lists the modalities means nothing."""
    fusion, tokens = subject.build(), subject.tokens()
    expected = flat(fusion(tokens, subject.present))
    turned = dict(reversed(tokens.items()))
    require_equal(flat(fusion(turned, subject.present)), expected, "with tokens listed in reverse")


def input_gradient_is_right(subject: FusionSubject) -> None:
    """In eval mode the gradient of the tokens is the numerical one (float64)."""
    fusion, tokens = subject.build(), subject.tokens()

    def run(*values: Tensor) -> dict[str, Tensor]:
        given = {m: Tokens(v, tokens[m].mask) for m, v in zip(DIMS, values, strict=True)}
        return flat(fusion(given, subject.present))

    check_gradient(run, [t.values for t in tokens.values()])


def encode_once_fuse_many(subject: FusionSubject) -> None:
    """In a FusionModel, fusing once-encoded tokens equals encoding anew, for every subset."""
    model = _model(subject)
    batch = vector_batch(DIMS, torch.ones_like(subject.present))
    tokens = model.encode(batch)
    for pattern in subject.present:
        present = pattern.expand(len(batch), -1)
        once = model.read(model.fuse(tokens, present), present)
        anew = model(batch.keep(present))
        for found, expected in ((once.logits, anew.logits), (once.step_logits, anew.step_logits)):
            require_equal(found, expected, f"for present {pattern.tolist()}", ROUNDING)
        require_equal(flat(once.fused), flat(anew.fused), f"for {pattern.tolist()}", ROUNDING)


def nothing_leaks_into_the_heads(subject: FusionSubject) -> None:
    """In a FusionModel, what raw data stands in an absent slot changes no prediction."""
    model = _model(subject)
    batch = vector_batch(DIMS, subject.present)
    expected = model(batch).logits
    require(all(v.isfinite().all() for v in expected.values()), "a score that is not finite")
    for garbage in GARBAGE:
        found = model(spoilt_batch(batch, garbage)).logits
        require_equal(found, expected, f"with {garbage} where nothing is")


def _model(subject: FusionSubject) -> FusionModel:
    """A model with one target of each kind that the fusion can serve."""
    targets: dict[str, TargetSpec] = {
        f"y{i}": t for i, t in enumerate(TARGETS) if _reads(_assembled(subject, {"y": t}))
    }
    require(bool(targets), "no kind of target that it can serve")
    return _assembled(subject, targets)


def _reads(model: FusionModel) -> bool:
    try:
        model(vector_batch(DIMS, torch.ones(1, len(DIMS), dtype=torch.bool)))
    except ConfigError:
        return False
    return True


def _assembled(subject: FusionSubject, targets: Mapping[str, TargetSpec]) -> FusionModel:
    spec = DataSpec({m: ModalitySpec.of(RAW_WIDTH) for m in DIMS}, targets)
    model = FusionModel(spec, affine_encoders(DIMS), subject.build())
    return stirred(model).double().eval()


def exports(subject: FusionSubject) -> None:
    """``torch.export`` takes it whole, for any number of rows, and answers as it does."""
    # Two modalities, as the time that an export takes grows with their pairs.
    pair = replace(subject, dims=dict(itertools.islice(DIMS.items(), 2)))
    fusion, tokens, present = pair.build(), pair.tokens(), pair.present
    rows = {0: torch.export.Dim("rows")}
    shapes = (tuple(rows for _ in tokens), tuple(rows for _ in tokens), rows)
    with warnings.catch_warnings():  # torch's own, on its way to a new exporter
        warnings.simplefilter("ignore")
        program = torch.export.export(
            _Plain(fusion), _plain(tokens, present), dynamic_shapes=shapes
        )
    for count in (len(present), 3):
        some = torch.arange(count)
        few = rows_of(tokens, some)
        found = program.module()(*_plain(few, present[some]))
        expected = flat(fusion(few, present[some]))
        require_equal(found, expected, f"once exported, for {count} rows", ROUNDING)


def _plain(tokens: Mapping[str, Tokens], present: Tensor) -> tuple[Any, ...]:
    values = tuple(t.values for t in tokens.values())
    return values, tuple(t.mask for t in tokens.values()), present


class _Plain(nn.Module):
    """A fusion that takes tensors alone, as ``torch.export`` wants it."""

    def __init__(self, fusion: Fusion) -> None:
        super().__init__()
        self.fusion = fusion

    def forward(
        self, values: tuple[Tensor, ...], masks: tuple[Tensor, ...], present: Tensor
    ) -> dict[str, Tensor]:
        names = self.fusion.modalities
        tokens = {m: Tokens(v, k) for m, v, k in zip(names, values, masks, strict=True)}
        return flat(self.fusion(tokens, present))


#: The promises of a fusion module, in the order in which they are checked.
FUSION_CHECKS = (
    declared_width,
    unknown_modality_is_refused,
    no_modality_is_refused,
    one_modality_is_enough,
    tokens_come_in_any_order,
    *ABSENCE_CHECKS,
    *STEP_CHECKS,
    encode_once_fuse_many,
    nothing_leaks_into_the_heads,
    *MODULE_CHECKS,
    gradient_is_right,
    input_gradient_is_right,
    exports,
)
