"""Adversarial training: the supervised loss where a small change of the tokens makes it large."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError
from mmfuse.objectives.base import Objective, Schedule
from mmfuse.objectives.crmt import class_targets, margin_loss, require_votes, row_weights
from mmfuse.objectives.supervised import targets_of
from mmfuse.objectives.target_loss import TargetLoss, weighted_mean
from mmfuse.tokens import Tokens

if TYPE_CHECKING:
    from mmfuse.model import FusionModel, Output

Moves = dict[str, Tensor]


class AdversarialLoss(Objective):
    """Adversarial training on tokens, one l2 ball over the modalities that a row has.

    ::

        L = mean_rows loss( f(z + d), y ),   |d| <= radius the steepest d that ``steps`` steps find

    Each step goes ``radius / steps`` along the gradient over all present modalities together and
    back into the ball. Fusion and heads are in eval mode while d is sought, so that nothing that
    they keep follows the attack; the loss itself is taken in training mode, and its gradient
    reaches the encoders. Tokens of any input can be moved, texts and frozen encoders included; the
    radius is one of tokens, which an encoder is free to make small by making its tokens large:
    keep their norm (a normalised or Lipschitz encoder), or compare radii of inputs. In evaluation
    d is 0.

    Args:
        weight: factor in the sum of objectives.
        schedule: how the factor moves over training.
        radius: of the ball.
        steps: of the attack.
        margin: how much CRMT's margin term at z + d counts besides, see ``CRMTMargin``; above 0 it
            takes a late fusion.
        balanced: whether classes count alike in that term, as there.

    Raises:
        ConfigError: a radius that is not above 0, no step, a margin below 0; at ``build``, no
            target, or a fusion or targets that do not fit the margin.

    Reference: Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks",
        ICLR 2018, arXiv:1706.06083; with the margin Yang, Wei et al., "Quantifying and Enhancing
        Multi-modal Robustness with Modality Preference", ICLR 2024, arXiv:2402.06244.

    Departs from the latter's code: tokens are moved, not inputs; the ball is that of l2, where
    theirs clamps each number by itself.
    """

    def __init__(
        self,
        weight: float = 1.0,
        schedule: Schedule = "constant",
        radius: float = 0.1,
        steps: int = 5,
        margin: float = 0.0,
        balanced: bool = True,
    ) -> None:
        super().__init__(weight, schedule)
        if not (0 < radius < math.inf and steps >= 1 and 0 <= margin < math.inf):
            raise ConfigError(
                f"AdversarialLoss: radius={radius}, steps={steps}, margin={margin}; expected a "
                "radius above 0, a step or more, and a margin of 0 or more."
            )
        self.radius, self.steps = radius, steps
        self.margin, self.balanced = margin, balanced

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

    def forward(
        self, model: FusionModel, batch: Batch, tokens: Mapping[str, Tokens], output: Output
    ) -> dict[str, Tensor]:
        """One loss a target, each divided by the number of targets."""
        present = model.present(batch)
        targets = targets_of(batch, model)
        blank = {m: t.keep(present[:, model.modalities.index(m)]) for m, t in tokens.items()}
        if self.training and blank:
            moves = self._found(model, blank, present, targets)
            moved = {m: replace(t, values=t.values + moves[m]) for m, t in blank.items()}
            output = model.read(model.fuse(moved, present), present)
        return self._of(model, output, targets)

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
        self,
        model: FusionModel,
        tokens: Mapping[str, Tokens],
        present: Tensor,
        targets: Mapping[str, Tensor],
    ) -> Moves:
        """What to add to the tokens; zero in absent slots and under padding."""
        fixed = {m: replace(t, values=t.values.detach()) for m, t in tokens.items()}
        moves = {m: torch.zeros_like(t.values) for m, t in fixed.items()}
        with model.evaluating():
            for _ in range(self.steps):
                leaves = {m: v.requires_grad_() for m, v in moves.items()}
                moved = {m: replace(t, values=t.values + leaves[m]) for m, t in fixed.items()}
                output = model.read(model.fuse(moved, present), present)
                total = torch.stack(list(self._of(model, output, targets).values())).sum()
                slopes = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
                way = {
                    m: torch.zeros_like(v) if g is None else g
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
