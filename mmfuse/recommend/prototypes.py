"""PrototypeUsers: a user is a mixture of a few shared tastes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmfuse.errors import ConfigError, DataError
from mmfuse.recommend.lists import ItemLists
from mmfuse.recommend.scores import Score
from mmfuse.recommend.users import Users


class PrototypeUsers(Users):
    """Users as points among a few prototypes, which they share.

    ::

        a_u = sum_k w_uk p_k,   w_u = softmax(W_u)

    A user has K numbers of its own, not D, so that a new one is known after a few pairs: see
    ``adapted``.

    Args:
        prototypes: K, 1 or more; with 1 all users are one.

    Raises:
        ConfigError: no prototype.

    Reference: Chen et al., "PAL: Pluralistic Alignment Framework for Learning from Heterogeneous
        Preferences", 2024, arXiv:2406.08469, model A.

    Departs from the authors' code: prototypes lie in the space of item vectors themselves, as
    "P w" there, and not before the items' encoder.
    """

    def __init__(self, prototypes: int = 8) -> None:
        super().__init__()
        if prototypes < 1:
            raise ConfigError(f"PrototypeUsers: prototypes is {prototypes}; expected 1 up.")
        self.count = prototypes

    def build(self, train: ItemLists, width: int) -> None:
        """Makes the prototypes, and every user's weights."""
        super().build(train, width)
        self.weights = nn.Embedding(len(train), self.count)
        self.prototypes = nn.Parameter(torch.empty(self.count, width))
        nn.init.xavier_uniform_(self.prototypes)

    def forward(self, codes: Tensor | None, items: Tensor | None) -> Tensor:
        """The vectors of some users; arguments as ``Users``."""
        return self.at(self.weights.weight if codes is None else self.weights(codes))

    def at(self, weights: Tensor) -> Tensor:
        """The points of weights before the softmax.

        Shape:
            weights (n, K) -> (n, D)
        """
        return weights.softmax(dim=-1) @ self.prototypes

    def adapted(
        self,
        score: Score,
        better: Tensor,
        worse: Tensor,
        steps: int = 100,
        learning_rate: float = 0.1,
    ) -> Tensor:
        """Weights of a user of whom nothing but a few comparisons is known.

        They alone are trained, from equal shares, on ``-log sigmoid(s_better - s_worse)``;
        prototypes, items and score stay as they are.

        Args:
            score: of the model.
            better: ``(n, D)`` vectors of the items that the user prefers.
            worse: ``(n, D)`` of those it prefers them to.
            steps: of Adam, over all pairs.
            learning_rate: of Adam.

        Returns:
            ``(K,)``; ``at`` makes the user's vector of them.

        Raises:
            DataError: no pair, or sides of unequal shape.
        """
        if better.shape != worse.shape or better.ndim != 2 or not len(better):
            raise DataError(
                f"Pairs have shapes {tuple(better.shape)} and {tuple(worse.shape)}; expected two "
                "(n, D) of one shape, with n of 1 or more."
            )
        prototypes = self.prototypes.detach()
        pairs = torch.stack([better, worse], dim=1).detach()
        weights = prototypes.new_zeros(self.count, requires_grad=True)
        optimizer = torch.optim.Adam([weights], lr=learning_rate)
        for _ in range(steps):
            point = weights.softmax(dim=0) @ prototypes
            scores = score.pairs(point.expand(len(pairs), -1), pairs)
            loss = F.softplus(scores[:, 1] - scores[:, 0]).mean()
            (weights.grad,) = torch.autograd.grad(loss, [weights])
            optimizer.step()
        return weights.detach()
