"""Columns: what a model says of a batch, chosen by name, ready to be written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError
from mmfuse.model import FusionModel, Towers
from mmfuse.spec import TargetSpec
from mmfuse.tokens import Tokens

#: The column of what a fusion makes.
FUSED = "fused"

TOKENS = ".tokens"


@dataclass(frozen=True)
class Vectors:
    """One vector a row.

    Args:
        values: ``(B, D)``.
        present: ``(B,)`` bool; where False the row has none.
        is_mean: whether they are the means of several tokens.
    """

    values: Tensor
    present: Tensor
    is_mean: bool = False

    def rows(self, index: Tensor) -> Vectors:
        """The rows that ``index`` selects."""
        return replace(self, values=self.values[index], present=self.present[index])

    def to(self, dtype: torch.dtype) -> Vectors:
        """On the CPU, in ``dtype``; what an absent row holds becomes zero."""
        values = self.values.masked_fill(~self.present.unsqueeze(1), 0)
        return replace(self, values=values.to("cpu", dtype), present=self.present.cpu())

    def facts(self) -> dict[str, Any]:
        """For the manifest."""
        return {"kind": "vector", "width": self.values.shape[-1], "is_mean": self.is_mean}

    def arrow(self) -> pa.Array:
        """A fixed-size list a row, null where absent."""
        values = pa.array(self.values.reshape(-1).numpy())
        mask = pa.array((~self.present).numpy())
        return pa.FixedSizeListArray.from_arrays(values, self.values.shape[1], mask=mask)

    def tensors(self, name: str) -> dict[str, Tensor]:
        """By name, for safetensors."""
        return {name: self.values.contiguous(), f"{name}.present": self.present}


@dataclass(frozen=True)
class Sequences:
    """A sequence of vectors a row, of unequal lengths.

    Args:
        values: ``(total, D)``, one row's after the other's.
        lengths: ``(B,)`` long; 0 where the row has none.
    """

    values: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, tokens: Tokens) -> Sequences:
        """The real tokens."""
        return cls(tokens.values[tokens.mask], tokens.mask.sum(dim=1))

    def rows(self, index: Tensor) -> Sequences:
        """The rows that ``index`` (bool) selects."""
        return Sequences(
            self.values[index.to(self.lengths.device).repeat_interleave(self.lengths)],
            self.lengths[index],
        )

    def to(self, dtype: torch.dtype) -> Sequences:
        """On the CPU, in ``dtype``."""
        return Sequences(self.values.to("cpu", dtype), self.lengths.cpu())

    def facts(self) -> dict[str, Any]:
        """For the manifest."""
        return {"kind": "sequence", "width": self.values.shape[-1]}

    def arrow(self) -> pa.Array:
        """A list of fixed-size lists a row, null where absent."""
        values = pa.array(self.values.reshape(-1).numpy())
        steps = pa.FixedSizeListArray.from_arrays(values, self.values.shape[1])
        offsets = torch.cat([self.lengths.new_zeros(1), self.lengths.cumsum(0)])
        mask = pa.array((self.lengths == 0).numpy())
        return pa.ListArray.from_arrays(pa.array(offsets.int().numpy()), steps, mask=mask)

    def tensors(self, name: str) -> dict[str, Tensor]:
        """By name, for safetensors."""
        return {name: self.values.contiguous(), f"{name}.lengths": self.lengths}


Column = Vectors | Sequences


def names_of(model: Towers) -> list[str]:
    """Everything that can be extracted from ``model``."""
    names = [*model.modalities, *(m + TOKENS for m in model.modalities)]
    if isinstance(model, FusionModel):
        names += [FUSED, "steps", "logits"]
    return names


def check_names(wanted: Sequence[str], model: Towers) -> None:
    """Refuses a name that means nothing.

    Raises:
        ConfigError: naming it and what there is.
    """
    known = names_of(model)
    if unknown := [n for n in wanted if n not in known]:
        raise ConfigError(f"{unknown} cannot be extracted; there is {', '.join(known)}.")
    if not wanted or len(set(wanted)) < len(wanted):
        raise ConfigError(f"what is {list(wanted)}; name each column once, of {', '.join(known)}.")


def compute(model: Towers, batch: Batch, wanted: Sequence[str]) -> dict[str, Column]:
    """The chosen columns of a batch.

    Raises:
        ConfigError: ``steps`` of a fusion that has none.
    """
    tokens, present = model.encode(batch), model.present(batch)
    found: dict[str, Column] = {}
    for i, m in enumerate(model.modalities):
        here = tokens.get(m) or _nothing(model, m, present)
        kept = here.keep(present[:, i])
        if m in wanted:
            found[m] = Vectors(kept.pooled(), kept.mask.any(dim=1), kept.mask.shape[1] > 1)
        if m + TOKENS in wanted:
            found[m + TOKENS] = Sequences.of(kept)
    if isinstance(model, FusionModel) and {FUSED, "steps", "logits"} & set(wanted):
        found |= _fused(model, tokens, present, wanted)
    return {name: column for name in wanted for name, column in _named(found, name)}


def _named(found: Mapping[str, Column], name: str) -> list[tuple[str, Column]]:
    return [(n, c) for n, c in found.items() if n == name or n.startswith(f"{name}.target.")]


def _nothing(model: Towers, modality: str, present: Tensor) -> Tokens:
    width: int = model.encoders[modality].out_dim  # type: ignore[assignment]
    values = torch.zeros(len(present), 1, width, device=present.device)
    return Tokens(values, present.new_zeros(len(present), 1))


def _fused(
    model: FusionModel, tokens: Mapping[str, Tokens], present: Tensor, wanted: Sequence[str]
) -> dict[str, Column]:
    fused = model.fuse(tokens, present)
    everyone = present.new_ones(len(present))
    found: dict[str, Column] = {FUSED: Vectors(fused.vector, everyone)}
    if "steps" in wanted:
        if fused.steps is None:
            raise ConfigError(
                f"{type(model.fusion).__name__} has no steps to extract; SequentialFusion has."
            )
        size = fused.steps.shape[:2]
        found["steps"] = Sequences.of(Tokens(fused.steps, present.new_ones(size)))
    if "logits" in wanted:
        logits = model.read(fused, present).logits
        found |= {f"logits.target.{t}": Vectors(v, everyone) for t, v in logits.items()}
    return found


def target_arrow(values: Tensor, spec: TargetSpec) -> pa.Array:
    """A target as a person knows it: class names, 0/1 labels, or values; null if unknown."""
    if spec.kind in ("binary", "multiclass"):
        names = [*spec.classes, None]  # -1 is unknown, and so last
        return pa.array([names[int(v)] for v in values], pa.string())
    if values.ndim > 1:
        return pa.array(values.tolist(), pa.list_(pa.float32(), values.shape[1]))
    return pa.array(values.float().numpy(), from_pandas=True)  # NaN is unknown
