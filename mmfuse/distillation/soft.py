"""Soft targets: how far what one model says of each row lies from what another says."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mmfuse.errors import ConfigError
from mmfuse.spec import TargetSpec


def require_soft(who: str, name: str, spec: TargetSpec) -> None:
    """Checks that a target's scores can be compared.

    Raises:
        ConfigError: a survival target.
    """
    if spec.kind == "survival":
        raise ConfigError(
            f"{who}: target {name!r} is of survival; what two models say is compared for classes, "
            "labels and values alone. Leave distillation to another target."
        )


def require_temperature(who: str, temperature: float) -> None:
    """Checks a temperature.

    Raises:
        ConfigError: it is not above zero, or without bound.
    """
    if not 0 < temperature < float("inf"):
        raise ConfigError(f"{who}: temperature is {temperature}; expected a number above 0.")


def divergence(spec: TargetSpec, said: Tensor, by: Tensor, temperature: float) -> Tensor:
    """How far ``by`` is from ``said``, row by row; the gradient flows to both.

    For classes, with p and q the softmax of the scores over the temperature T::

        T^2 KL(p || q) = T^2 sum_k p_k (log p_k - log q_k)

    where T^2 keeps the gradient's size. For several labels at once the mean over labels of the
    same with two classes each; for values the mean squared difference, in units of the training
    deviation and without a temperature.

    Args:
        spec: the target, not of survival.
        said: the scores that are approached, p.
        by: the scores that approach, q.
        temperature: T.

    Shape:
        said, by (B, out_dim) -> (B,)
    """
    if spec.kind == "regression":
        return (by - said).square().mean(dim=-1)
    if spec.kind == "multilabel":
        p, q = said / temperature, by / temperature
        yes = p.sigmoid() * (F.logsigmoid(p) - F.logsigmoid(q))
        no = (-p).sigmoid() * (F.logsigmoid(-p) - F.logsigmoid(-q))
        return temperature**2 * (yes + no).mean(dim=-1)
    p = F.log_softmax(spec.class_scores(said) / temperature, dim=-1)
    q = F.log_softmax(spec.class_scores(by) / temperature, dim=-1)
    return temperature**2 * (p.exp() * (p - q)).sum(dim=-1)
