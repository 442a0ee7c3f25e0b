"""The supervised losses: what the heads, the steps and each modality alone should say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor, nn

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError, DataError
from mmfuse.objectives.base import Objective, Schedule
from mmfuse.objectives.target_loss import TargetLoss, weighted_mean
from mmfuse.tokens import Tokens

if TYPE_CHECKING:
    from mmfuse.model import FusionModel, Output


def targets_of(batch: Batch, model: FusionModel) -> dict[str, Tensor]:
    """The batch's targets by name.

    Raises:
        DataError: the batch has none, or not the ones that the model predicts.
    """
    if isinstance(batch.target, Tensor):
        if len(model.spec.targets) != 1:
            raise DataError(
                f"The batch's target is one tensor; the model learns {sorted(model.spec.targets)}. "
                "Give a mapping with a tensor for each."
            )
        return dict.fromkeys(model.spec.targets, batch.target)
    if batch.target is None or not model.spec.targets.keys() <= batch.target.keys():
        found = sorted(batch.target) if batch.target else "none"
        raise DataError(
            f"The batch's targets are {found}; the model learns {sorted(model.spec.targets)}."
        )
    return {t: batch.target[t] for t in model.spec.targets}


def _losses(model: FusionModel, objective: str) -> nn.ModuleDict:
    if not model.spec.targets:
        raise ConfigError(f"{objective} needs a target; the data set has none.")
    return nn.ModuleDict({name: TargetLoss(spec) for name, spec in model.spec.targets.items()})


class SupervisedLoss(Objective):
    """Cross-entropy, squared error or survival likelihood of the heads, averaged over targets.

    For a sequential fusion the loss is averaged over the initial state and the steps that
    happened, so that every step learns to predict::

        L = 1/D sum_d  mean_{rows, steps that happened} loss(f_d(s_m), y_d)

    Args:
        weight: factor in the sum of objectives.
        schedule: how the factor moves over training.
        read_every_step: for a sequential fusion; False reads the last state alone.

    Reference: for the steps, Swamy et al., "MultiModN", NeurIPS 2023, arXiv:2309.14118.

    Departs from the authors' code: skipped steps count in neither sum nor divisor.
    """

    def __init__(
        self, weight: float = 1.0, schedule: Schedule = "constant", read_every_step: bool = True
    ) -> None:
        super().__init__(weight, schedule)
        self.read_every_step = read_every_step

    def build(self, model: FusionModel) -> None:
        """Makes one loss for each target."""
        self.losses = _losses(model, "SupervisedLoss")

    def forward(
        self, model: FusionModel, batch: Batch, tokens: Mapping[str, Tokens], output: Output
    ) -> dict[str, Tensor]:
        """One loss a target, each divided by the number of targets."""
        losses = {}
        targets = targets_of(batch, model)
        for name, target in targets.items():
            if self.read_every_step and name in output.step_logits:
                logits = output.step_logits[name]
                happened = output.fused.step_present
                assert happened is not None
                wide = target.unsqueeze(1).expand(-1, logits.shape[1], *target.shape[1:])
                loss, weight = self.losses[name](logits, wide, happened)
            else:
                loss, weight = self.losses[name](output.logits[name], target)
            losses[name] = weighted_mean(loss, weight) / len(targets)
        return losses


class UnimodalLoss(Objective):
    """A head of its own for every modality, trained on that modality alone.

    It keeps the stronger modality from silencing the weaker ones. A row counts for the
    modalities it has.

    Args:
        weight: factor in the sum of objectives.
        schedule: how the factor moves over training.
        hidden: width of the heads' hidden layer; 0 makes them linear maps.
    """

    def __init__(
        self, weight: float = 1.0, schedule: Schedule = "constant", hidden: int = 0
    ) -> None:
        super().__init__(weight, schedule)
        self.hidden = hidden

    def build(self, model: FusionModel) -> None:
        """Makes one head for each modality and target."""
        self.losses = _losses(model, type(self).__name__)
        self.heads = nn.ModuleDict(
            {
                m: nn.ModuleDict(
                    {t: self._head(d, s.out_dim) for t, s in model.spec.targets.items()}
                )
                for m, d in model.dims.items()
            }
        )

    def head(self, modality: str, target: str) -> nn.Module:
        """The head of a modality for a target, from its mean token to scores."""
        return self.heads[modality][target]  # type: ignore[index]

    def _head(self, width: int, out_dim: int) -> nn.Module:
        if not self.hidden:
            return nn.Linear(width, out_dim)
        return nn.Sequential(
            nn.Linear(width, self.hidden), nn.ReLU(), nn.Linear(self.hidden, out_dim)
        )

    def forward(
        self, model: FusionModel, batch: Batch, tokens: Mapping[str, Tokens], output: Output
    ) -> dict[str, Tensor]:
        """One loss a modality, averaged over targets."""
        present = model.present(batch)
        targets = targets_of(batch, model)
        losses = {}
        for i, m in enumerate(model.modalities):
            if m not in tokens:
                continue
            vector = tokens[m].pooled()
            total = vector.new_zeros(())
            for name, target in targets.items():
                logits = self.head(m, name)(vector)
                loss, weight = self.losses[name](logits, target, present[:, i])
                total = total + weighted_mean(loss, weight)
            losses[m] = total / len(targets)
        return losses


class StateChangePenalty(Objective):
    """Mean squared change of the state at the steps that happened.

    ::

        L = mean_{rows, steps that happened}  mean_S (s_m - s_{m-1})^2

    Args:
        weight: factor in the sum of objectives; the authors use 0.01.
        schedule: how the factor moves over training.

    Raises:
        ConfigError: the fusion has no steps.

    Reference: Swamy et al., "MultiModN", NeurIPS 2023, arXiv:2309.14118.

    Departs from the authors' code: skipped steps, whose change is zero, do not count in
    the divisor.
    """

    def __init__(self, weight: float = 0.01, schedule: Schedule = "constant") -> None:
        super().__init__(weight, schedule)

    def build(self, model: FusionModel) -> None:
        """Checks that the fusion has states to compare."""
        if not model.fusion.is_sequential:
            raise ConfigError(
                f"StateChangePenalty needs a fusion with steps; {type(model.fusion).__name__} "
                "has none. Use SequentialFusion, or drop the objective."
            )

    def forward(
        self, model: FusionModel, batch: Batch, tokens: Mapping[str, Tokens], output: Output
    ) -> dict[str, Tensor]:
        """The one loss ``state_change``."""
        steps, happened = output.fused.steps, output.fused.step_present
        assert steps is not None
        assert happened is not None
        change = (steps[:, 1:] - steps[:, :-1]).square().mean(dim=-1)
        return {"state_change": weighted_mean(change, happened[:, 1:].to(change.dtype))}
