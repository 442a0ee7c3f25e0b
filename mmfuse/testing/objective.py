"""check_objective: every promise of an objective, checked."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError
from mmfuse.fusion.base import Fusion
from mmfuse.fusion.concat import ConcatFusion
from mmfuse.fusion.late import LateMeanFusion
from mmfuse.fusion.sequential import SequentialFusion
from mmfuse.model import FusionModel
from mmfuse.objectives.base import Objective
from mmfuse.recorded import describe, rebuild
from mmfuse.spec import DataSpec, ModalitySpec, TargetSpec
from mmfuse.testing.module import MODULE_CHECKS
from mmfuse.testing.promises import (
    keep_promises,
    name_of,
    require,
    require_equal,
    require_finite,
)
from mmfuse.testing.values import (
    GARBAGE,
    RAW_WIDTH,
    TARGETS,
    affine_encoders,
    every_subset,
    gradients,
    spoilt_batch,
    stirred,
    vector_batch,
)

MakeFusion = Callable[[dict[str, int]], Fusion]
#: The fusions that an objective is tried with: a plain one, one with steps, one with votes.
FUSIONS: tuple[MakeFusion, ...] = (
    functools.partial(ConcatFusion, out_dim=4, hidden=4),
    functools.partial(SequentialFusion, out_dim=4, hidden=4),
    functools.partial(LateMeanFusion, out_dim=4, hidden=4),
)
# All modalities of one width, since some objectives compare them.
_DIMS = {"a": 4, "b": 4, "c": 4}


def check_objective(
    make: Callable[..., Objective], fusions: Sequence[MakeFusion] = FUSIONS, **options: Any
) -> None:
    """Checks every promise of an objective with each fusion and target that it accepts.

    Args:
        make: the class, or anything else that gives the objective.
        fusions: from ``dims`` to a fusion. A pair of fusion and target for which ``build``
            raises ConfigError is passed over; at least one must be left.
        options: arguments of ``make``.

    Raises:
        ConformanceError: with every promise that is broken and what was found.

    Example:
        >>> from mmfuse.objectives import SupervisedLoss
        >>> check_objective(SupervisedLoss)
    """
    build, name = functools.partial(make, **options), name_of(make, options)
    pairs = itertools.product(fusions, TARGETS)
    subjects = [ObjectiveSubject(build, fusion, target) for fusion, target in pairs]
    keep_promises(name, subjects, [some_model_fits])
    for subject in subjects:
        if _accepted(subject):
            title = f"{name} with {name_of(subject.fusion, {})} on a {subject.target.kind} target"
            keep_promises(title, subject, OBJECTIVE_CHECKS)


class Trained(nn.Module):
    """A model and the objective that was built for it."""

    def __init__(self, model: FusionModel, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective
        objective.build(model)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The objective's losses for a batch."""
        present = self.model.present(batch)
        tokens = self.model.encode(batch)
        output = self.model.read(self.model.fuse(tokens, present), present)
        return self.objective(self.model, batch, tokens, output)


@dataclass(frozen=True)
class ObjectiveSubject:
    """How to build one objective with a model around it, and the rows that it is run on."""

    make: Callable[[], Objective]
    fusion: MakeFusion
    target: TargetSpec

    def build(self, dtype: torch.dtype = torch.float64) -> Trained:
        """A fresh model and objective in eval mode, their weights stirred."""
        spec = DataSpec({m: ModalitySpec.of(RAW_WIDTH) for m in _DIMS}, {"y": self.target})
        model = FusionModel(spec, affine_encoders(_DIMS), self.fusion(dict(_DIMS)))
        objective = self.make()
        require(
            isinstance(objective, Objective),
            f"a {type(objective).__name__}, which is no Objective",
        )
        trained = Trained(model, objective)
        stirred(trained)
        return trained.to(dtype).eval()

    def rebuilt(self, module: Trained) -> nn.Module:
        """Both from their descriptions."""
        model = FusionModel.rebuild(module.model.describe())
        return Trained(model, rebuild(describe(module.objective), base=Objective))

    def batch(self, dtype: torch.dtype = torch.float64) -> Batch:
        """Two rows for each subset of the modalities; some have no label."""
        with torch.random.fork_rng():
            torch.manual_seed(2)
            present = every_subset(len(_DIMS)).repeat(2, 1)
            plain = vector_batch(_DIMS, present, dtype)
            labels = self._labels(len(present), dtype)
            return Batch(plain.modalities, plain.inputs, present, {"y": labels})

    def _labels(self, rows: int, dtype: torch.dtype) -> Tensor:
        every, width = torch.arange(rows), self.target.out_dim
        if self.target.kind in ("binary", "multiclass"):
            # -1, unknown, is one of the labels.
            return every % (len(self.target.classes) + 1) - 1
        labels = torch.randn(rows, width, dtype=torch.float64)
        if self.target.kind == "survival":
            # Times that tie here and there.
            times = (torch.rand(rows, dtype=torch.float64) * 10).round() / 2
            labels = torch.stack([times, (every % 3 > 0).double()], dim=1)
        if self.target.kind == "multilabel":
            labels = (labels > 0).double()
        labels[every % 5 == 0] = float("nan")
        return labels.to(dtype)

    def outputs(
        self, module: Trained, dtype: torch.dtype = torch.float64, device: str = "cpu"
    ) -> dict[str, Tensor]:
        """The losses of the sample."""
        return module(self.batch(dtype).to(device))


def _accepted(subject: ObjectiveSubject) -> bool:
    try:
        subject.build()
    except ConfigError:
        return False
    return True


def some_model_fits(subjects: list[ObjectiveSubject]) -> None:
    """``build`` accepts at least one of the models that it is tried with."""
    fits = any(_accepted(s) for s in subjects)
    require(fits, f"ConfigError for all {len(subjects)} models; give ``fusions`` that fit")


def gives_named_scalars(subject: ObjectiveSubject) -> None:
    """It gives a mapping from names to finite scalars, at least one of which can be learned."""
    trained = subject.build().train()
    losses = subject.outputs(trained)
    require(bool(losses), "no loss at all")
    for name, loss in losses.items():
        require(isinstance(name, str) and loss.dim() == 0, f"{name!r} of shape {loss.shape}")
    require_finite(losses, "on the sample")
    found = gradients(losses, trained)
    require_finite(found, "on the sample")
    require(any(g.any() for g in found.values()), "no gradient for anything")


def nothing_leaks(subject: ObjectiveSubject) -> None:
    """What stands in an absent slot changes no loss and no gradient, bit for bit."""
    trained, batch = subject.build().train(), subject.batch()
    expected = _trace(trained, batch)
    for garbage in GARBAGE:
        spoilt = _trace(trained, spoilt_batch(batch, garbage))
        require_equal(spoilt, expected, f"with {garbage} where nothing is")


def _trace(trained: Trained, batch: Batch) -> dict[str, Tensor]:
    torch.manual_seed(1)
    losses = trained(batch)
    return {**{n: v.detach() for n, v in losses.items()}, **gradients(losses, trained)}


def any_batch_works(subject: ObjectiveSubject) -> None:
    """All present, all absent, one modality, no labels, one row: finite, and so is the gradient."""
    trained, batch = subject.build().train(), subject.batch()
    assert isinstance(batch.target, dict)
    labels = batch.target["y"]
    unknown = torch.full_like(labels, float("nan") if labels.is_floating_point() else -1)
    every = torch.ones_like(batch.present)
    alone = every & (torch.arange(every.shape[1]) == 0)
    names, inputs = batch.modalities, batch.inputs
    cases = {
        "all present": Batch(names, inputs, every, batch.target),
        "all absent": Batch(names, inputs, ~every, batch.target),
        "one modality present": Batch(names, inputs, alone, batch.target),
        "no row labelled": Batch(names, inputs, batch.present, {"y": unknown}),
        "one row": batch.rows(torch.tensor([len(batch) - 1])),
        "one row with nothing present": batch.rows(torch.tensor([0])),
    }
    for when, case in cases.items():
        losses = trained(case)
        require_finite(losses, f"with {when}")
        require_finite(gradients(losses, trained), f"with {when}")


def weighting_is_plain(subject: ObjectiveSubject) -> None:
    """``factor`` is a number at every progress from 0 to 1, never beyond the weight."""
    objective = subject.build().objective
    for progress in (0.0, 0.5, 1.0):
        factor = objective.factor(progress)
        require(abs(factor) <= abs(objective.weight), f"factor {factor} at progress {progress}")


#: The promises of an objective, in the order in which they are checked.
OBJECTIVE_CHECKS = (
    gives_named_scalars,
    nothing_leaks,
    any_batch_works,
    weighting_is_plain,
    *(check for check in MODULE_CHECKS if check.__name__ != "every_weight_learns"),
)
