"""Batch: what the data layer hands to a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from mmfuse.errors import UnknownModalityError
from mmfuse.picked import PickedInputs, PickedRows
from mmfuse.tokens import Tokens

RawInput = Tensor | Tokens
Target = Tensor | Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Problem:
    """A modality of one row that could not be read, and therefore counts as absent.

    Args:
        row: the row in the data set.
        modality: which input.
        reason: what was wrong with it.
    """

    row: int
    modality: str
    reason: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of a multimodal data set, with the mask of who is there.

    Args:
        modalities: the order that the columns of ``present`` follow.
        inputs: each modality's raw input, first axis B. What stands in an absent slot has
            no meaning and no effect. A modality that no row has may be left out.
        present: ``(B, M)`` bool, True where the row has the modality.
        target: one tensor, a tensor for each named target, or None. Class labels are
            ``(B,)`` long with -1 for an unknown label; several labels at once are
            ``(B, L)`` float; regression is float with NaN for an unknown value.
        index: ``(B,)`` long, the row in the data set, so that outputs can be joined back.
        present_rows: for each modality the positions of its present rows. Found once where
            the batch is made (on the CPU), so that a training step on a GPU need not wait
            to learn how many rows it has.
        problems: what could not be read of these rows.

    Example:
        >>> batch = Batch(("a",), {"a": torch.zeros(2, 3)}, torch.tensor([[True], [False]]))
        >>> len(batch), batch.present_rows["a"].tolist()
        (2, [0])
    """

    modalities: tuple[str, ...]
    inputs: Mapping[str, RawInput]
    present: Tensor
    target: Target | None = None
    index: Tensor = field(default=None)  # type: ignore[assignment]
    present_rows: Mapping[str, Tensor] = field(default=None)  # type: ignore[arg-type]
    problems: tuple[Problem, ...] = ()

    def __post_init__(self) -> None:
        if unknown := set(self.inputs) - set(self.modalities):
            raise UnknownModalityError(
                f"Batch inputs hold {sorted(unknown)}, which modalities {self.modalities} "
                "do not name. Add them to modalities, or drop the inputs."
            )
        if self.index is None:
            index = torch.arange(len(self.present), device=self.present.device)
            object.__setattr__(self, "index", index)
        if self.present_rows is None:
            columns = self.present.unbind(dim=1)
            rows = {
                m: c.nonzero().squeeze(1) for m, c in zip(self.modalities, columns, strict=True)
            }
            object.__setattr__(self, "present_rows", rows)

    def __len__(self) -> int:
        return self.present.shape[0]

    def keep(self, mask: Tensor) -> Batch:
        """The same rows with fewer modalities: present becomes ``present & mask`` (B, M)."""
        return replace(self, present=self.present & mask, present_rows=None)  # type: ignore[arg-type]

    def only(self, modalities: Sequence[str]) -> Batch:
        """The same rows for a model that reads these modalities alone, those there are of them."""
        names = tuple(m for m in modalities if m in self.modalities)
        given = self.inputs
        if isinstance(given, PickedInputs):
            kept = {m: x for m, x in given.inputs.items() if m in names}
            inputs: Mapping[str, RawInput] = PickedInputs(kept, given.index)
        else:
            inputs = {m: x for m, x in given.items() if m in names}
        columns = [self.modalities.index(m) for m in names]
        return replace(
            self,
            modalities=names,
            inputs=inputs,
            present=self.present[:, columns],
            present_rows={m: self.present_rows[m] for m in names},
            problems=tuple(p for p in self.problems if p.modality in names),
        )

    def rows(self, index: Tensor) -> Batch:
        """The rows that ``index`` (long or bool) selects."""
        return Batch(
            self.modalities,
            {m: _rows(x, index) for m, x in self.inputs.items()},
            self.present[index],
            _map_target(self.target, lambda t: t[index]),
            self.index[index],
            problems=tuple(p for p in self.problems if p.row in self.index[index]),
        )

    def view(self, index: Tensor) -> Batch:
        """The rows that ``index`` (long) selects, whose inputs are copied where they are read."""
        given = self.inputs
        picked = (
            given.rows(index) if isinstance(given, PickedInputs) else PickedInputs(given, index)
        )
        none = replace(self, inputs={}).rows(index)
        return replace(none, inputs=picked)

    def input(self, modality: str) -> RawInput | PickedRows:
        """One modality's input; the vectors of a ``view`` as they are picked."""
        given = self.inputs
        return given.picked(modality) if isinstance(given, PickedInputs) else given[modality]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The same batch on another device."""
        return Batch(
            self.modalities,
            {m: x.to(device, non_blocking=non_blocking) for m, x in self.inputs.items()},
            self.present.to(device, non_blocking=non_blocking),
            _map_target(self.target, lambda t: t.to(device, non_blocking=non_blocking)),
            self.index.to(device, non_blocking=non_blocking),
            {m: r.to(device, non_blocking=non_blocking) for m, r in self.present_rows.items()},
            self.problems,
        )

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory."""
        return Batch(
            self.modalities,
            {m: x.pin_memory() for m, x in self.inputs.items()},
            self.present.pin_memory(),
            _map_target(self.target, lambda t: t.pin_memory()),
            self.index.pin_memory(),
            {m: r.pin_memory() for m, r in self.present_rows.items()},
            self.problems,
        )


def _rows(value: RawInput, index: Tensor) -> RawInput:
    return value.rows(index) if isinstance(value, Tokens) else value[index]


def _map_target(target: Target | None, change) -> Target | None:  # type: ignore[no-untyped-def]
    if target is None or isinstance(target, Tensor):
        return None if target is None else change(target)
    return {name: change(value) for name, value in target.items()}
