"""Adversarial training: the supervised loss where a small change of a row makes it large."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor, nn

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError
from mmfuse.objectives.base import Objective, Schedule
from mmfuse.objectives.crmt import class_targets, margin_loss, require_votes, row_weights
from mmfuse.objectives.moved import (
    Movable,
    MovableInputs,
    MovableTokens,
    Moves,
    movable_inputs,
)
from mmfuse.objectives.supervised import targets_of
from mmfuse.objectives.target_loss import TargetLoss, weighted_mean
from mmfuse.tokens import Tokens

if TYPE_CHECKING:
    from mmfuse.model import FusionModel, Output

#: What is moved.
On = Literal["tokens", "inputs"]


class AdversarialLoss(Objective):
    """Adversarial training on tokens or inputs, one l2 ball over the modalities that a row has.

    ::

        L = mean_rows loss( f(z + d), y ),   |d| <= radius the steepest d that ``steps`` steps find

    Each step goes ``radius / steps`` along the gradient over all present modalities together and
    back into the ball. The model is in eval mode while d is sought, so that nothing that it keeps
    follows the attack; the loss itself is taken in training mode, and its gradient reaches the
    encoders. In evaluation d is 0.

    On tokens, z is what the encoders give. Any input can be defended so, texts and frozen encoders
    included, and a step runs no encoder again; but the radius is one of tokens, which an encoder is
    free to make small by making its tokens large: keep their norm (a normalised or Lipschitz
    encoder). On inputs, z is what the encoders read, in training deviations where data are
    standardised, as ``PGD`` measures it; texts, codes of categories and inputs of frozen encoders
    stay as they are, and encoders run ``steps + 1`` times more.

    Args:
        weight: factor in the sum of objectives.
        schedule: how the factor moves over training.
        radius: of the ball.
        steps: of the attack.
        margin: how much CRMT's margin term at z + d counts besides, see ``CRMTMargin``; above 0 it
            takes a late fusion.
        balanced: whether classes count alike in that term, as there.
        on: what is moved, ``tokens`` or ``inputs``.

    Raises:
        ConfigError: a radius that is not above 0, no step, a margin below 0, an unknown ``on``; at
            ``build``, no target, no input that can be moved, or a fusion or targets that do not fit
            the margin.

    Reference: Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks",
        ICLR 2018, arXiv:1706.06083; with the margin Yang, Wei et al., "Quantifying and Enhancing
        Multi-modal Robustness with Modality Preference", ICLR 2024, arXiv:2402.06244.

    Departs from the latter's code, which moves inputs: the ball is that of l2, where theirs clamps
    each number by itself.
    """

    def __init__(
        self,
        weight: float = 1.0,
        schedule: Schedule = "constant",
        radius: float = 0.1,
        steps: int = 5,
        margin: float = 0.0,
        balanced: bool = True,
        on: On = "tokens",
    ) -> None:
        super().__init__(weight, schedule)
        if on not in get_args(On):
            raise ConfigError(f"AdversarialLoss: on is {on!r}; expected tokens or inputs.")
        if not (0 < radius < math.inf and steps >= 1 and 0 <= margin < math.inf):
            raise ConfigError(
                f"AdversarialLoss: radius={radius}, steps={steps}, margin={margin}; expected a "
                "radius above 0, a step or more, and a margin of 0 or more."
            )
        self.radius, self.steps = radius, steps
        self.margin, self.balanced, self.on = margin, balanced, on

    def build(self, model: FusionModel) -> None:
        """Makes one loss for each target."""
        if not model.spec.targets:
            raise ConfigError("AdversarialLoss needs a target; the data set has none.")
        self.losses = nn.ModuleDict({t: TargetLoss(s) for t, s in model.spec.targets.items()})
        self._of_margin: list[str] = []
        if self.margin:
            require_votes(model, "AdversarialLoss with a margin")
            self._of_margin = class_targets(model, "AdversarialLoss with a margin")
        self.rows = row_weights(model, self._of_margin, self.balanced)
        self._movable = movable_inputs(model) if self.on == "inputs" else frozenset[str]()

    def forward(
        self, model: FusionModel, batch: Batch, tokens: Mapping[str, Tokens], output: Output
    ) -> dict[str, Tensor]:
        """One loss a target, each divided by the number of targets."""
        targets = targets_of(batch, model)
        if self.training:
            movable = self._of_batch(model, batch, tokens)
            if still := movable.still():
                moves = self._found(model, movable.searched(), still, targets)
                output = movable.output(moves)
        return self._of(model, output, targets)

    def _of_batch(self, model: FusionModel, batch: Batch, tokens: Mapping[str, Tokens]) -> Movable:
        if self.on == "inputs":
            return MovableInputs(model, batch, self._movable)
        present = model.present(batch)
        blank = {m: t.keep(present[:, model.modalities.index(m)]) for m, t in tokens.items()}
        return MovableTokens(model, blank, present)

    def _of(
        self, model: FusionModel, output: Output, targets: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        found = {}
        for name, target in targets.items():
            loss, weight = self.losses[name](output.logits[name], target)
            found[name] = weighted_mean(loss, weight) / len(targets)
        for name in self._of_margin:
            votes, weights = output.fused.votes, output.fused.weights
            assert votes is not None
            assert weights is not None
            alone = model.spec.targets[name].class_scores(model.heads[name](votes))
            label = targets[name]
            term = margin_loss(alone, label, weights > 0, self.rows[name](label))
            found[f"{name}_margin"] = self.margin * term / len(self._of_margin)
        return found

    def _found(
        self, model: FusionModel, movable: Movable, moves: Moves, targets: Mapping[str, Tensor]
    ) -> Moves:
        """What to add, from nothing on; zero in absent slots and under padding."""
        with model.evaluating(), torch.enable_grad():
            for _ in range(self.steps):
                leaves = {m: v.requires_grad_() for m, v in moves.items()}
                found = self._of(model, movable.output(leaves), targets)
                total = torch.stack(list(found.values())).sum()
                slopes = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
                way = {
                    m: torch.zeros_like(v) if g is None else g.nan_to_num(0, 0, 0)
                    for (m, v), g in zip(leaves.items(), slopes, strict=True)
                }
                way = _scaled(way, 1 / _length(way))
                ahead = {
                    m: v.detach() + self.radius / self.steps * way[m] for m, v in leaves.items()
                }
                moves = _scaled(ahead, (self.radius / _length(ahead)).clamp(max=1))
        return {m: v.detach() for m, v in moves.items()}


def _length(values: Mapping[str, Tensor]) -> Tensor:
    """``(B,)`` l2 norm over all modalities, never quite zero."""
    squares = [v.flatten(1).square().sum(dim=1) for v in values.values()]
    return torch.stack(squares).sum(dim=0).sqrt().clamp(min=torch.finfo(squares[0].dtype).tiny)


def _scaled(values: Mapping[str, Tensor], by: Tensor) -> Moves:
    """Each row times its number."""
    return {m: v * by.view(-1, *[1] * (v.dim() - 1)) for m, v in values.items()}
