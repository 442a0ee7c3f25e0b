"""What an attack climbs: the cross-entropy of the label, or the margin by which it loses."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mmfuse.errors import ConfigError

Loss = Literal["ce", "margin"]
LOSSES: tuple[Loss, ...] = ("ce", "margin")


def margin(scores: Tensor, label: Tensor) -> Tensor:
    """Score of the strongest other class less that of the label: above 0 where the label loses.

    Its gradient does not fade where the model is sure, as that of cross-entropy does.

    Shape:
        scores (B, K), label (B,) -> (B,)

    Example:
        >>> margin(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([0]))
        tensor([-1.])
    """
    own = scores.gather(1, label.unsqueeze(1))
    others = scores.scatter(1, label.unsqueeze(1), -torch.inf)
    return others.amax(dim=1) - own.squeeze(1)


def climbed(loss: Loss, scores: Tensor, label: Tensor, aim: Tensor | None = None) -> Tensor:
    """The loss that an attack raises, row by row.

    Args:
        loss: which one.
        scores: ``(B, K)`` of the classes.
        label: ``(B,)`` what the model should say.
        aim: ``(B,)`` what it is to say instead: the margin is this class's, and the
            cross-entropy that of this class with the sign turned. None is any other class.
    """
    if loss == "margin":
        if aim is None:
            return margin(scores, label)
        gap = scores.gather(1, aim.unsqueeze(1)) - scores.gather(1, label.unsqueeze(1))
        return gap.squeeze(1)
    if aim is None:
        return F.cross_entropy(scores, label, reduction="none")
    return -F.cross_entropy(scores, aim, reduction="none")


def strongest_others(scores: Tensor, label: Tensor, count: int) -> list[Tensor]:
    """The classes of the highest scores but for the label, ``(B,)`` each, the strongest first."""
    others = scores.scatter(1, label.unsqueeze(1), -torch.inf)
    count = min(count, scores.shape[1] - 1)
    return list(others.topk(count, dim=1).indices.unbind(dim=1))


def check_loss(loss: str) -> None:
    """Refuses an unknown loss.

    Raises:
        ConfigError: naming the known ones.
    """
    if loss not in LOSSES:
        raise ConfigError(f"An attack's loss is {loss!r}; expected 'ce' or 'margin'.")
