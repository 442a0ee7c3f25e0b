"""IdealPointScore: a user is a point among the items, and likes what lies near."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mmfuse.errors import ConfigError
from mmfuse.objectives.contrastive import Temperature, unit
from mmfuse.recommend.scores import Score, dots


class IdealPointScore(Score):
    """How near an item lies to the user's ideal point; the nearer, the better.

    ::

        s_ui = -|x_i - a_u|         form: distance
        s_ui = s cos(x_i, a_u)      form: angle, s learned, 1 / 0.07 at first and 100 at most

    The angle form with ``BPRLoss`` is BPR on unit vectors; the paper's loss is ``HingeLoss``.

    Args:
        form: ``distance`` or ``angle``.

    Raises:
        ConfigError: another form.

    Reference: Chen et al., "PAL: Pluralistic Alignment Framework for Learning from Heterogeneous
        Preferences", 2024, arXiv:2406.08469.

    Example:
        >>> user, items = torch.zeros(1, 2), torch.tensor([[0.0, 1.0], [0.0, 3.0]])
        >>> IdealPointScore().matrix(user, items).tolist()
        [[-1.0, -3.0]]
    """

    def __init__(self, form: Literal["distance", "angle"] = "distance") -> None:
        super().__init__()
        if form not in ("distance", "angle"):
            raise ConfigError(f"IdealPointScore: form is {form!r}; expected distance or angle.")
        self.form = form
        self.scale = Temperature(0.07) if form == "angle" else None

    def pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores of each user's own items.

        Shape:
            users (B, D), items (B, n, D) -> (B, n)
        """
        if self.scale is None:
            return -torch.linalg.vector_norm(items - users.unsqueeze(1), dim=-1)
        return self.scale() * dots(unit(users), unit(items))

    def matrix(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores of every user and item.

        Shape:
            users (B, D), items (I, D) -> (B, I)
        """
        if self.scale is None:
            return -torch.cdist(users, items)
        return self.scale() * (unit(users) @ unit(items).T)
