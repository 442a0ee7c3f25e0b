"""What a sequential fusion module promises about its steps and its order."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from mmfuse.errors import ConfigError, UnknownModalityError
from mmfuse.fusion.base import Fused
from mmfuse.testing.fused import FusionSubject, by_row, flat, rows_of
from mmfuse.testing.promises import require, require_equal
from mmfuse.testing.values import DIMS, ROUNDING


def steps_tell_the_story(subject: FusionSubject) -> None:
    """The last step is the vector; a step that did not happen leaves the state as it was."""
    fusion = subject.build()
    fused = fusion(subject.tokens(), subject.present)
    if not fusion.is_sequential:
        require(fused.steps is None, "steps from a fusion that is not sequential")
        return
    _consistent(fused, subject.present, "in the given order")


def any_order_works(subject: FusionSubject) -> None:
    """A sequential fusion takes an order by names, or by positions for each row."""
    fusion = subject.build()
    if not fusion.is_sequential:
        return
    tokens, present = subject.tokens(), subject.present
    given = flat(fusion(tokens, present))
    require_equal(flat(fusion(tokens, present, order=tuple(DIMS))), given, "in the given order")
    orders = list(itertools.permutations(range(len(DIMS))))
    positions = torch.tensor([orders[i % len(orders)] for i in range(len(present))])
    mixed = fusion(tokens, present, order=positions)
    _consistent(mixed, present, "in an order of each row's own", positions)
    for i, row in enumerate(positions):
        names = [list(DIMS)[p] for p in row]
        one = torch.tensor([i])
        named = fusion(rows_of(tokens, one), present[one], order=names)
        _consistent(named, present[one], f"in the order {names}", row)
        expected = {n: v[one] for n, v in by_row(mixed).items() if n != "step_modality"}
        found = {n: v for n, v in by_row(named).items() if n in expected}
        require_equal(found, expected, f"in the order {names} by names, not positions", ROUNDING)


def a_wrong_order_is_refused(subject: FusionSubject) -> None:
    """An order that is no permutation of the modalities raises ConfigError."""
    fusion = subject.build()
    if not fusion.is_sequential:
        return
    tokens, present = subject.tokens(), subject.present
    first, *others = DIMS
    twice = torch.zeros(present.shape, dtype=torch.long)
    for order in ([first], [first, first, *others], [first, *others[:-1], "unknown"], twice):
        try:
            fusion(tokens, present, order=order)
        except (ConfigError, UnknownModalityError):
            continue
        require(False, f"the order {order} was accepted")


def _consistent(fused: Fused, present: Tensor, when: str, order: Tensor | None = None) -> None:
    steps, happened, modality = fused.steps, fused.step_present, fused.step_modality
    if steps is None or happened is None or modality is None:
        require(False, f"no steps, step_present or step_modality {when}")
        return
    count = steps.shape[1]
    require(
        steps.shape == (len(present), count, fused.vector.shape[1])
        and happened.shape == (len(present), count)
        and happened.dtype == torch.bool,
        f"steps {tuple(steps.shape)} and step_present {tuple(happened.shape)} {when}",
    )
    require_equal({"steps[:, -1]": steps[:, -1]}, {"steps[:, -1]": fused.vector}, f"{when}")
    modality = modality.expand(len(present), count)
    require(
        (modality[:, 0] == -1).all() and happened[:, 0].all(),
        f"the first step is not the initial state (-1, happened) {when}",
    )
    every = torch.arange(present.shape[1])
    require(
        count == len(every) + 1 and (modality[:, 1:].sort(dim=1).values == every).all(),
        f"step_modality {modality.tolist()} does not name each modality once {when}",
    )
    require(
        order is None or torch.equal(modality[:, 1:], order.expand(len(present), -1)),
        f"step_modality {modality.tolist()} does not follow the order {when}",
    )
    expected = present.gather(1, modality[:, 1:])
    require_equal({"step_present": happened[:, 1:]}, {"step_present": expected}, when)
    still = (steps[:, 1:] == steps[:, :-1]).all(dim=-1)
    require((still | happened[:, 1:]).all(), f"a step that did not happen moved the state {when}")


#: The promises about steps, in the order in which they are checked.
STEP_CHECKS = (steps_tell_the_story, any_order_works, a_wrong_order_is_refused)
