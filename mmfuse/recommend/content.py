"""ItemContent: what the encoders and the fusion say of some items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.data.datamodule import Split
from mmfuse.model import FusionModel, Output
from mmfuse.tokens import Tokens


class Catalogue(Protocol):
    """Where the items' modalities are, such as ``ItemCatalogue``."""

    def batch(self, items: Tensor | None = None, split: Split = "train") -> Batch:
        """The items of these codes, or all; ``Batch.index`` is the code."""
        ...


@dataclass(frozen=True, slots=True)
class ItemContent:
    """Some items, seen through their modalities.

    Args:
        batch: the items; ``batch.index`` holds their codes, ascending.
        tokens: what each encoder gave.
        output: what the fusion made of them; ``output.fused.vector`` is ``(n, C)``.
        present: ``(n, M)`` bool, in fusion order.
    """

    batch: Batch
    tokens: Mapping[str, Tokens]
    output: Output
    present: Tensor

    @classmethod
    def of(cls, tower: FusionModel, batch: Batch) -> ItemContent:
        """Encodes and fuses some items."""
        present = tower.present(batch)
        tokens = tower.encode(batch)
        return cls(batch, tokens, tower.read(tower.fuse(tokens, present), present), present)

    @property
    def vector(self) -> Tensor:
        """``(n, C)`` the fused vectors."""
        return self.output.fused.vector

    def rows(self, index: Tensor) -> ItemContent:
        """Some of these items; what the fusion says of all, its losses, stays.

        Args:
            index: ``(k,)`` long, places among these items.
        """
        fused, count = self.output.fused, len(self.batch)
        picked: dict[str, Any] = {
            f.name: value[index]
            for f in fields(fused)
            if isinstance(value := getattr(fused, f.name), Tensor)
            and (f.name != "step_modality" or value.dim() > 1)
        }
        assert all(len(getattr(fused, name)) == count for name in picked)
        return ItemContent(
            self.batch.view(index),
            {m: t.rows(index) for m, t in self.tokens.items()},
            Output({}, replace(fused, **picked), {}),
            self.present[index],
        )

    def places(self, items: Tensor) -> Tensor:
        """Where items stand among these, of any shape; all of them are here."""
        return torch.searchsorted(self.batch.index, items.contiguous())
