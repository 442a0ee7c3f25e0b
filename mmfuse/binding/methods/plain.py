"""The plain methods: one space alone, and the mean of all in the base."""

from __future__ import annotations

from mmfuse.binding.fit import Training
from mmfuse.binding.methods.base import BindingMethod, Task
from mmfuse.binding.methods.projecting import ProjectingMethod
from mmfuse.binding.nodes import Node
from mmfuse.binding.pairs import Pairs
from mmfuse.binding.retrieval import Retrieval


class Specialist(BindingMethod):
    """The base alone, with which every other method is compared.

    A modality that it does not embed gets the prior, which tells nothing.
    """

    def check(self, task: Task) -> None:
        """Nothing needs to be joined to the base."""
        task.banks.require_space(task.base)

    def build(self, task: Task) -> Node:
        """One leaf."""
        return task.leaf(task.base)


class MeanOfSpaces(ProjectingMethod):
    """Every space projected into the base by pseudo pairs; all that a row has count the same.

    Args:
        pairs: how pseudo pairs are made; ``Retrieval`` by default.
        training: of the projectors.
        hidden: width of their hidden layer.
        members: perceptrons a projector averages.
        intra: factor of the term that brings a space's own modalities together.

    Reference: Wang et al., "OmniBind", 2024, arXiv:2407.11895, stage 1.
    """

    def __init__(
        self,
        pairs: Pairs | None = None,
        training: Training | None = None,
        hidden: int = 2048,
        members: int = 1,
        intra: float = 0.1,
    ) -> None:
        super().__init__(pairs or Retrieval(), training, hidden, members, intra)

    def build(self, task: Task) -> Node:
        """Pairs, then projectors."""
        return self.into_base(task, self.tuples(task))
