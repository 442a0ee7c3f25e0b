"""Remembered: what was made of a model's weights, kept for as long as they stay what they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Made = TypeVar("Made")
_WHOLE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Remembered:
    """What was made of a model's weights, made anew once they change.

    Validation and each checkpoint of an epoch look at the same weights. Whether they are the
    same is told by where tensors lie, how often they were written, and, for parameters, what
    they hold: averaging of weights writes past the count.

    Example:
        >>> model, kept = nn.Linear(2, 1), Remembered()
        >>> first = kept.of(model, "norm", lambda: model.weight.norm())
        >>> first is kept.of(model, "norm", lambda: model.weight.norm())
        True
        >>> _ = model.weight.data.add_(1)
        >>> first is kept.of(model, "norm", lambda: model.weight.norm())
        False
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Lets go of everything."""
        self._model: nn.Module | None = None
        self._state: Any = None
        self._made: dict[str, Any] = {}

    def of(self, model: nn.Module, name: str, make: Callable[[], Made]) -> Made:
        """What ``make`` gives, or gave for these weights.

        Args:
            model: whose weights decide what is made.
            name: of what is made.
            make: makes it.
        """
        state = _state(model)
        if self._model is not model or self._state != state:
            self._model, self._state, self._made = model, state, {}
        if name not in self._made:
            self._made[name] = make()
        made: Made = self._made[name]
        return made


def _state(model: nn.Module) -> Any:
    tensors = [*model.parameters(), *model.buffers()]
    sums = [_bits(p) for p in model.parameters()]
    held = torch.stack(sums).tolist() if sums else []  # one wait for the device
    return [(t.data_ptr(), t._version) for t in tensors], held


def _bits(values: Tensor) -> Tensor:
    """The sum of what a tensor holds, read as whole numbers: exact, whatever was added."""
    flat = values.detach().reshape(-1)
    return flat.view(_WHOLE[flat.element_size()]).sum(dtype=torch.int64)
