"""Recipes: what to tune on what, and where in between to average."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from mmfuse.checkpoint import STATISTICS, whole
from mmfuse.errors import ConfigError
from mmfuse.merging.merge import uniform
from mmfuse.model import FusionModel
from mmfuse.spec import DataSpec, TargetSpec

Work = TypeVar("Work")
#: Tunes a model on some work (a data module, say) from the weights that it has.
Tune = Callable[[FusionModel, Work], FusionModel]


def ratatouille(
    start: FusionModel,
    auxiliary: Sequence[Work],
    target: Work,
    tune: Tune[Work],
    weights: Sequence[float] | None = None,
    skip: Sequence[str] = (),
) -> FusionModel:
    """Model Ratatouille: detours over auxiliary tasks, which make the averaged models differ.

    ::

        theta_i = tune(tune(start, task_i), target),   theta = sum_i w_i theta_i

    Args:
        start: where every detour begins.
        auxiliary: the detours. The target among them is a model that was tuned on it longer.
        target: the work that counts.
        tune: starts a run at a model's weights and returns the tuned one, such as
            ``task.start_from(model, data)`` and ``trainer.fit(task, datamodule=data)``. Runs
            of one target must look at the same training rows.
        weights: of the average; equal ones for None.
        skip: patterns of tensors' names that stay those of the first detour.

    Raises:
        ConfigError, CheckpointError: as ``uniform``.

    Reference: Rame et al., "Model Ratatouille: Recycling Diverse Models for
    Out-of-Distribution Generalization", ICML 2023, arXiv:2212.10445; in multimodal models
    Shukor et al., "UnIVAL", TMLR 2023, arXiv:2307.16184.
    """
    return uniform([tune(tune(start, task), target) for task in auxiliary], weights, skip)


def fusing(
    start: FusionModel,
    auxiliary: Sequence[Work],
    target: Work,
    tune: Tune[Work],
    weights: Sequence[float] | None = None,
) -> FusionModel:
    """Fusing: the auxiliary models are averaged first, and their average is tuned.

    ::

        theta = tune(sum_i w_i tune(start, task_i), target)

    One tuning on the target in place of several. Of heads only those of targets that all
    auxiliary models share are averaged; the others stay behind.

    Args:
        start: where every auxiliary run begins.
        auxiliary: the auxiliary work.
        target: the work that counts.
        tune: as for ``ratatouille``.
        weights: of the average; equal ones for None.

    Raises:
        ConfigError, CheckpointError: as ``uniform``.

    Reference: Choshen et al., "Fusing finetuned models for better pretraining",
    arXiv:2204.03044; Shukor et al., "UnIVAL", TMLR 2023, arXiv:2307.16184.
    """
    tuned = [tune(start, task) for task in auxiliary]
    shared = shared_targets(tuned)
    return tune(uniform([with_heads(m, shared) for m in tuned], weights), target)


def shared_targets(models: Sequence[FusionModel]) -> list[str]:
    """The targets that all models predict alike, statistics aside."""

    def plain(spec: TargetSpec) -> dict[str, object]:
        return {k: v for k, v in vars(spec).items() if k not in STATISTICS}

    first = models[0].spec.targets
    return [
        t
        for t, spec in first.items()
        if all(t in m.spec.targets and plain(m.spec.targets[t]) == plain(spec) for m in models)
    ]


def with_heads(model: FusionModel, targets: Sequence[str]) -> FusionModel:
    """The same model without the heads of other targets; no target at all leaves its trunk.

    Raises:
        ConfigError: a target that the model does not predict.
    """
    if unknown := [t for t in targets if t not in model.spec.targets]:
        raise ConfigError(
            f"The model does not predict {unknown}; it predicts {list(model.spec.targets)}."
        )
    content = whole(model)["mmfuse"]["model"]
    spec = DataSpec(model.spec.modalities, {t: model.spec.targets[t] for t in targets})
    made = FusionModel.rebuild({**content, "spec": spec.to_dict()})
    state = model.state_dict()
    made.load_state_dict({k: state[k] for k in made.state_dict()})
    return made.eval()
