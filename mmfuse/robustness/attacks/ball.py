"""Ball: what may be added to some modalities within a budget, and how a step moves inside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mmfuse.missing.hashing import uniform, uniforms
from mmfuse.robustness.attacks.surface import Movable, Moves
from mmfuse.robustness.attacks.threat import Threat


@dataclass(frozen=True)
class Ball:
    """The moves that a budget allows, each modality measured in its own unit.

    Every method keeps what is not free at zero. A direction is the steepest of the norm: for l2
    the gradient at length 1, for l_inf its signs.

    Args:
        surface: what is moved.
        threat: the norm, whether modalities share a ball, and their units.
        eps: ``(B,)`` each row's budget.
    """

    surface: Movable
    threat: Threat
    eps: Tensor

    @property
    def _groups(self) -> list[list[str]]:
        """Modalities that share one ball."""
        names = list(self.surface.parts)
        if self.threat.budget == "each":
            return [[m] for m in names]
        return [names] if names else []

    def unit(self, modality: str) -> float:
        """The size that counts as 1."""
        return self.threat.units.get(modality, 1.0)

    def zero(self) -> Moves:
        """Nothing added."""
        return {m: torch.zeros_like(p.values) for m, p in self.surface.parts.items()}

    def project(self, moves: Mapping[str, Tensor]) -> Moves:
        """The nearest moves that the budget and the valid range allow.

        Clipping comes last: it takes every number nearer to zero, so that the ball still holds.
        """
        scaled = {m: v / self.unit(m) for m, v in moves.items()}
        if self.threat.norm == "linf":
            inside = {
                m: v.clamp(-_wide(self.eps, v), _wide(self.eps, v)) for m, v in scaled.items()
            }
        else:
            inside = {}
            for group in self._groups:
                length = _length(scaled, group)
                factor = (self.eps / length.clamp(min=torch.finfo(length.dtype).tiny)).clamp(max=1)
                inside |= {m: scaled[m] * _wide(factor, scaled[m]) for m in group}
        return self._clipped({m: v * self.unit(m) for m, v in inside.items()})

    def step(
        self, moves: Mapping[str, Tensor], gradient: Mapping[str, Tensor], by: Tensor
    ) -> Moves:
        """``by`` (B,) times the budget along the steepest direction, then back into the ball."""
        scaled = {
            m: torch.where(p.free, gradient[m].nan_to_num(0, 0, 0) * self.unit(m), 0)
            for m, p in self.surface.parts.items()
        }
        if self.threat.norm == "linf":
            way = {m: g.sign() for m, g in scaled.items()}
        else:
            way = {}
            for group in self._groups:
                way |= _of_length_one(scaled, group)
        size = self.eps * by
        return self.project(
            {m: moves[m] + self.unit(m) * _wide(size, w) * w for m, w in way.items()}
        )

    def random(self, seed: int, *stream: int | str, on_sphere: bool = False) -> Moves:
        """Uniform in the ball; what a row gets depends on the seed and its number alone.

        Args:
            seed: any whole number.
            stream: words that name the purpose.
            on_sphere: at the budget's full length (for l_inf at a corner).
        """
        drawn = {m: self._drawn(m, seed, *stream) for m in self.surface.parts}
        if self.threat.norm == "linf":
            moves = {m: v.sign() if on_sphere else v for m, v in drawn.items()}
        else:
            moves = {}
            for group in self._groups:
                # A uniform number in (-1, 1) as a normal one, whose direction is uniform.
                normal = {m: torch.erfinv(drawn[m].clamp(-0.9999999, 0.9999999)) for m in group}
                way = _of_length_one(normal, group)
                count = sum(self.surface.parts[m].free.flatten(1).sum(dim=1) for m in group)
                share = uniform(seed, self.surface.index, *stream, "length", *group)
                radius = (share ** (1 / torch.as_tensor(count).clamp(min=1))).to(self.eps.dtype)
                moves |= {m: w if on_sphere else w * _wide(radius, w) for m, w in way.items()}
        return self.project({m: v * _wide(self.eps, v) * self.unit(m) for m, v in moves.items()})

    def _drawn(self, modality: str, seed: int, *stream: int | str) -> Tensor:
        """Uniform in (-1, 1), zero where nothing is free."""
        part = self.surface.parts[modality]
        # A row's first numbers do not depend on how far its batch is padded.
        size = part.values[:1].numel()
        drawn = 2 * uniforms(seed, self.surface.index, size, *stream, modality) - 1
        return torch.where(part.free, drawn.view_as(part.values).to(part.values.dtype), 0)

    def _clipped(self, moves: Moves) -> Moves:
        found = {}
        for m, part in self.surface.parts.items():
            value = moves[m]
            if part.low is not None and part.high is not None:
                value = value.maximum(part.low).minimum(part.high)
            found[m] = torch.where(part.free, value, 0)
        return found


def _wide(rows: Tensor, values: Tensor) -> Tensor:
    """``(B,)`` shaped to multiply ``(B, ...)``."""
    return rows.view(-1, *[1] * (values.dim() - 1))


def _length(values: Mapping[str, Tensor], group: list[str]) -> Tensor:
    """``(B,)`` l2 norm over all numbers of a group."""
    rows = [torch.linalg.vector_norm(values[m].flatten(1), dim=1) for m in group]
    return torch.linalg.vector_norm(torch.stack(rows), dim=0)


def _of_length_one(values: Mapping[str, Tensor], group: list[str]) -> Moves:
    """A group's values at length 1; zero where all are zero.

    The largest number is brought to 1 first, as squares of tiny gradients are zero.
    """
    largest = torch.stack([values[m].flatten(1).abs().amax(dim=1) for m in group]).amax(dim=0)
    safe = torch.where(largest > 0, largest, 1)
    even = {m: values[m] / _wide(safe, values[m]) for m in group}
    length = _length(even, group)
    safe = torch.where(length > 0, length, 1)
    return {m: v / _wide(safe, v) for m, v in even.items()}
