"""One small batch in which every subset of three modalities occurs, and a judge of equations."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from mmfuse.fusion import Fusion
from mmfuse.tokens import Tokens

Row = dict[str, Tensor]


@dataclass
class Sample:
    """Ragged tokens of three modalities; NaN stands wherever nothing real does."""

    dims: dict[str, int]
    tokens: dict[str, Tokens]
    present: Tensor

    def row(self, i: int) -> Row:
        """The real tokens ``(T, D)`` of the modalities that row ``i`` has, and nothing else."""
        return {
            m: t.values[i][t.mask[i]]
            for (m, t), here in zip(self.tokens.items(), self.present[i], strict=True)
            if here
        }

    def rows(self, index: Tensor) -> Sample:
        tokens = {m: t.rows(index) for m, t in self.tokens.items()}
        return Sample(self.dims, tokens, self.present[index])


@pytest.fixture
def sample() -> Sample:
    draw = torch.Generator().manual_seed(0)
    dims, lengths = {"a": 5, "b": 3, "c": 4}, {"a": 1, "b": 4, "c": 3}
    present = torch.tensor(list(itertools.product([False, True], repeat=3)))
    tokens = {}
    for i, (m, d) in enumerate(dims.items()):
        values = torch.randn(8, lengths[m], d, generator=draw, dtype=torch.float64)
        count = torch.randint(1, lengths[m] + 1, (8, 1), generator=draw)
        mask = torch.arange(lengths[m]) < count
        values[~mask] = torch.nan
        values[~present[:, i]] = torch.nan
        tokens[m] = Tokens(values, mask)
    return Sample(dims, tokens, present)


@pytest.fixture
def shake() -> Callable[[nn.Module], nn.Module]:
    """Moves every parameter off its initial value, so that no zero bias hides a mistake."""

    def move(module: nn.Module) -> nn.Module:
        draw = torch.Generator().manual_seed(1)
        module.double().eval()
        with torch.no_grad():
            for p in module.parameters():
                p += 0.3 * torch.randn(p.shape, generator=draw, dtype=p.dtype)
        return module

    return move


@pytest.fixture
def agrees(
    sample: Sample, shake: Callable[[nn.Module], nn.Module]
) -> Callable[[Fusion, Callable[[Row], Tensor]], None]:
    """Compares a fusion with a literal equation on the present tokens of each row."""

    def compare(fusion: Fusion, equation: Callable[[Row], Tensor]) -> None:
        shake(fusion)
        found = fusion(sample.tokens, sample.present).vector
        with torch.no_grad():  # torch's transformer layers take another road without gradients
            again = fusion(sample.tokens, sample.present).vector
        torch.testing.assert_close(again, found)
        for i in range(len(found)):
            row = sample.row(i)
            torch.testing.assert_close(found[i], equation(row) if row else fusion.prior)

    return compare
