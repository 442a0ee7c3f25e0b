"""FusionSubject: a fusion module under check, and the sample that it is run on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mmfuse.fusion.base import Fused, Fusion
from mmfuse.recorded import describe, rebuild
from mmfuse.testing.values import DIMS, every_subset, sample_tokens, stirred
from mmfuse.tokens import Tokens


@dataclass(frozen=True)
class FusionSubject:
    """How to build one fusion module; its sample has one row for each subset of modalities.

    Args:
        make: from ``dims`` to the module.
        dims: width of each modality.
    """

    make: Callable[[dict[str, int]], Fusion]
    dims: Mapping[str, int] = field(default_factory=lambda: DIMS)

    @property
    def present(self) -> Tensor:
        """``(2^M, M)``, the row with nothing present first."""
        return every_subset(len(self.dims))

    def build(self, dtype: torch.dtype = torch.float64) -> Fusion:
        """A fresh module in eval mode, its weights stirred."""
        fusion = self.make(dict(self.dims))
        stirred(fusion)
        return fusion.to(dtype).eval()

    def rebuilt(self, module: Fusion) -> nn.Module:
        """The module from its description."""
        return rebuild(describe(module, without=("dims",)), dict(self.dims), base=Fusion)

    def tokens(self, dtype: torch.dtype = torch.float64) -> dict[str, Tokens]:
        """The sample: the same at every call."""
        return sample_tokens(self.dims, len(self.present), dtype)

    def outputs(
        self, module: Fusion, dtype: torch.dtype = torch.float64, device: str = "cpu"
    ) -> dict[str, Tensor]:
        """Everything in ``Fused``, by name."""
        tokens = {m: t.to(device) for m, t in self.tokens(dtype).items()}
        return flat(module(tokens, self.present.to(device)))


def flat(fused: Fused) -> dict[str, Tensor]:
    """Everything in ``fused``, by name."""
    named = {
        "vector": fused.vector,
        "steps": fused.steps,
        "step_present": fused.step_present,
        "step_modality": fused.step_modality,
        "votes": fused.votes,
        "weights": fused.weights,
        **{f"losses[{name!r}]": loss for name, loss in fused.losses.items()},
    }
    return {name: value for name, value in named.items() if value is not None}


def by_row(fused: Fused) -> dict[str, Tensor]:
    """What ``fused`` says of each row: every part whose first axis is the batch."""
    size = len(fused.vector)
    shared = fused.step_modality is not None and fused.step_modality.dim() == 1
    return {
        name: value
        for name, value in flat(fused).items()
        if value.dim() and len(value) == size and not (shared and name == "step_modality")
    }


def rows_of(tokens: Mapping[str, Tokens], index: Tensor) -> dict[str, Tokens]:
    """The rows of every modality's tokens that ``index`` selects."""
    return {m: t.rows(index) for m, t in tokens.items()}
