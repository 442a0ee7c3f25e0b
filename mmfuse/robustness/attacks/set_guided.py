"""Set-level guidance: inputs of aligned modalities are moved away from all of their partners."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError, UnknownModalityError
from mmfuse.missing.hashing import uniform
from mmfuse.model import Towers
from mmfuse.robustness.attacks.ball import Ball
from mmfuse.robustness.attacks.strike import added, attackable
from mmfuse.robustness.attacks.surface import (
    InputPart,
    Moves,
    Part,
    PartsAlone,
    in_raw_units,
    input_part,
    require_gradient,
)
from mmfuse.robustness.attacks.threat import Norm, Threat
from mmfuse.unit import unit

# Resizing by these, and back, as the authors do.
_SCALES = (0.5, 0.75, 1.25, 1.5)


@dataclass(frozen=True)
class SetGuidedAttack:
    """Moves inputs of aligned modalities until they no longer find their partners (SGA).

    With u the unit-length mean tokens of the moved modality, v those of the partners (all rows of
    the same group in every other modality), the attack climbs, over the input and altered copies
    of it::

        - mean_copies sum_partners u(copy(x + d)) . v

    so that it does not hang on one partner or one look of the input, and carries over to other
    models. Modalities take turns in the order of ``eps``, each against partners as moved so far;
    with two or more the first has a second turn. Copies of images are resized by 0.5, 0.75, 1.25
    and 1.5 and back; all copies get noise.

    Args:
        eps: for each moved modality how far, in training deviations where data are standardised.
        norm: ``linf`` or ``l2``.
        steps: of each turn.
        step_size: of a step as a share of the budget.
        copies: of an input that is no image.
        noise: deviation of the copies' noise, in the units of ``eps``.
        valid: for each modality the lowest and highest value of its raw input.
        seed: of start and noise.

    Raises:
        ConfigError: no modality, an eps that is not above 0, or no step.

    Reference: Lu et al., "Set-level Guidance Attack", ICCV 2023, arXiv:2307.14061.

    Departs from the paper: texts are not rewritten, as any pair of modalities made of real
    numbers is attacked in the same way; partners of a row may be of several modalities.
    """

    eps: Mapping[str, float]
    norm: Norm = "linf"
    steps: int = 10
    step_size: float = 0.25
    copies: int = 4
    noise: float = 0.05
    valid: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.eps or min(self.eps.values()) <= 0 or self.steps < 1 or self.copies < 0:
            raise ConfigError(
                f"SetGuidedAttack: eps={dict(self.eps)}, steps={self.steps}, copies={self.copies}; "
                "expected an eps above 0 for a modality or more, a step or more, and copies of 0 "
                "or more."
            )

    def search(self, model: Towers, batch: Batch, group: Tensor | None = None) -> Batch:
        """The rows with moved inputs; absent slots, and rows without a partner, as they were.

        Args:
            model: aligned encoders, on the batch's device; its mode and parameters stay.
            batch: the rows; partners are sought among them.
            group: ``(B,)`` which rows belong together, such as the captions of one image; None
                makes each row a group of its own.

        Raises:
            UnknownModalityError: a modality that the model lacks.
            ConfigError: an input that cannot be moved, or an encoder without a gradient.
        """
        if unknown := set(self.eps) - set(model.modalities):
            raise UnknownModalityError(
                f"The attack names {sorted(unknown)}; the model knows {list(model.modalities)}."
            )
        group = torch.arange(len(batch), device=batch.present.device) if group is None else group
        turns = [*self.eps, *list(self.eps)[:1]] if len(self.eps) > 1 else list(self.eps)
        moved = dict(batch.inputs)
        with attackable(model):
            for m in turns:
                here = [n for n in batch.inputs if len(batch.present_rows[n])]
                if m not in here or len(here) < 2:
                    continue  # nothing to move, or nothing to move it away from
                guide = self._guide(model, replace(batch, inputs=moved), m, group)
                moved[m] = added(batch.inputs[m], self._turn(model, batch, m, guide))
        return replace(batch, inputs=moved)

    def _guide(self, model: Towers, batch: Batch, modality: str, group: Tensor) -> Tensor:
        """``(B, D)`` the sum of each row's partners in the other modalities."""
        with torch.no_grad():
            others = {m: x for m, x in batch.inputs.items() if m != modality}
            vectors = [
                unit(t.pooled()) for t in model.encode(replace(batch, inputs=others)).values()
            ]
        together = (group.unsqueeze(0) == group.unsqueeze(1)).to(vectors[0].dtype)
        return together @ torch.stack(vectors).sum(dim=0)

    def _turn(self, model: Towers, batch: Batch, modality: str, guide: Tensor) -> Tensor:
        """What is added to one modality, in raw units."""
        threat = Threat((modality,), self.norm, valid=_only(self.valid, modality))
        with torch.no_grad():
            part = input_part(model, modality, batch, model.present(batch), threat)
        led = guide.abs().sum(dim=1) > 0
        one = PartsAlone({modality: part}, batch.index)
        eps = torch.where(led, self.eps[modality], 0.0).to(part.values.dtype)
        ball = Ball(one, threat, eps)
        by = torch.full_like(eps, self.step_size)
        moves: Moves = ball.random(self.seed, "sga")
        looks = _SCALES if model.spec.modalities[modality].kind == "image" else (1,) * self.copies
        for step in range(self.steps):
            slope = torch.zeros_like(part.values)
            for copy, scale in enumerate((1, *looks)):
                noise = self._noise(part, batch.index, step, copy) if copy else 0
                slope += self._slope(model, modality, part, moves[modality], guide, scale, noise)
            moves = ball.step(moves, {modality: slope}, by)
        return in_raw_units(model, modality, moves[modality])

    def _slope(
        self,
        model: Towers,
        modality: str,
        part: InputPart,
        moves: Tensor,
        guide: Tensor,
        scale: float,
        noise: Tensor | int,
    ) -> Tensor:
        with torch.enable_grad():
            leaf = moves.detach().requires_grad_()
            tokens = part.tokens(_rescaled(part.values + leaf, scale) + noise)
            require_gradient(model, modality, leaf, tokens)
            loss = -(unit(tokens.pooled()) * guide).sum()
            return torch.autograd.grad(loss, leaf)[0]

    def _noise(self, part: Part, index: Tensor, step: int, copy: int) -> Tensor:
        size = part.values[:1].numel()
        place = index.unsqueeze(1) * size + torch.arange(size, device=index.device)
        drawn = 2 * uniform(self.seed, place, "sga noise", step, copy) - 1
        normal = torch.erfinv(drawn.clamp(-0.9999999, 0.9999999)) * 2**0.5
        values = normal.view_as(part.values).to(part.values.dtype)
        return torch.where(part.free, self.noise * values, 0)


def _only(
    valid: Mapping[str, tuple[float, float]], modality: str
) -> dict[str, tuple[float, float]]:
    return {modality: valid[modality]} if modality in valid else {}


def _rescaled(x: Tensor, scale: float) -> Tensor:
    """Images resized and brought back to their size."""
    if scale == 1:
        return x
    size = x.shape[-2:]
    small = [max(round(s * scale), 1) for s in size]
    resized = F.interpolate(x, size=small, mode="bicubic")
    return F.interpolate(resized, size=size, mode="bicubic")
