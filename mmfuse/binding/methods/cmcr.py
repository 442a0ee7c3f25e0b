"""C-MCR: all spaces projected together into a new one, through the items that they share."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from mmfuse.binding.aggregation import Aggregation
from mmfuse.binding.drawn import Drawn
from mmfuse.binding.fit import Progress, Training
from mmfuse.binding.methods.base import Task
from mmfuse.binding.methods.projecting import (
    ProjectingMethod,
    closeness,
    contrast,
    embedded,
    projected,
)
from mmfuse.binding.nodes import Bond, Node
from mmfuse.binding.pairs import Pairs
from mmfuse.fusion.routing import Projector


class CMCR(ProjectingMethod):
    """Connected spaces: every space has a projector, and all learn together from shared items.

    Of a tuple (an item that spaces k and l both embed, with a soft neighbour of every other
    modality in each) the loss is, with f the projectors::

        L = mean over k, l [ InfoNCE(f_k(x_k), f_l(x_l)) + InfoNCE(f_k(v_k), f_l(a_l)) ]
            + intra * mean over k of 1/2 |f_k(x_k) - f_k(v_k)|^2

    Args:
        pairs: how pseudo pairs are made; ``Aggregation`` by default.
        training: of all projectors together.
        hidden: width of their hidden layer.
        intra: factor of the term that closes the gap between a space's modalities.

    Raises:
        ConfigError: a factor below 0.

    Reference: Wang et al., "Connecting Multi-modal Contrastive Representations", NeurIPS 2023,
        arXiv:2305.14381.

    Departs from the paper: any number of spaces; a modality that several embed gets the mean of
    those that a row has; the new space is as wide as the base.
    """

    def __init__(
        self,
        pairs: Pairs | None = None,
        training: Training | None = None,
        hidden: int = 2048,
        intra: float = 0.1,
    ) -> None:
        super().__init__(pairs or Aggregation(), training, hidden, 1, intra)

    def build(self, task: Task) -> Node:
        """Pairs, then all projectors in one stage."""
        tuples = self.tuples(task)
        spaces = task.banks.spaces
        leaves = {s: task.leaf(s) for s in spaces}
        width = task.banks.widths[task.base]

        def make() -> nn.ModuleDict:
            return nn.ModuleDict(
                {s: Projector(leaf.width, width, self.hidden) for s, leaf in leaves.items()}
            )

        def loss(projectors: nn.ModuleDict, drawn: Drawn) -> Tensor:
            found = {s: embedded(leaf, drawn) for s, leaf in leaves.items()}
            mine = {s: projected(projectors[s], found[s]) for s in spaces}  # type: ignore[arg-type]
            between, within = [], []
            for k, other in itertools.combinations(spaces, 2):
                for a, b in itertools.product(mine[k], mine[other]):
                    # Shared items meet shared items, and what they gathered meets its like.
                    alike = (drawn.rows[a] >= 0) == (drawn.rows[b] >= 0)
                    both = found[k][a].present & found[other][b].present & alike
                    if both.any():
                        between.append(
                            contrast(
                                mine[k][a], mine[other][b], both, drawn.meaning, self.training.scale
                            )
                        )
            for s in spaces:
                for a, b in itertools.combinations(mine[s], 2):
                    both = found[s][a].present & found[s][b].present
                    within.append(closeness(mine[s][a], mine[s][b], both))
            total = torch.stack(between).mean()
            return total + self.intra * torch.stack(within).mean() if within else total

        def fit(projectors: nn.ModuleDict, progress: Progress) -> None:
            self.training.fit(projectors, tuples, lambda d: loss(projectors, d), progress)

        fitted = task.stages.fitted("projectors", make, fit)
        found: list[Projector | None] = [fitted[s] for s in spaces]  # type: ignore[misc]
        return Bond(list(leaves.values()), found).eval()
