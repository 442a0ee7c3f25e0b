"""The method contract: banks of items -> what joins their spaces."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from mmfuse.binding.banks import Banks
from mmfuse.binding.nodes import Leaf, Node
from mmfuse.binding.stages import Stages
from mmfuse.errors import ConfigError
from mmfuse.recorded import Recorded


@dataclass(frozen=True)
class Task:
    """What there is to bind.

    Args:
        banks: the items of every modality.
        base: the space that the others are brought into.
        stages: where work is kept.
        validation: pairs of pools whose rows with one number belong together.
    """

    banks: Banks
    base: str
    stages: Stages
    validation: Sequence[tuple[str, str]] = ()

    def leaf(self, space: str) -> Leaf:
        """One frozen space."""
        return Leaf(space, self.banks.widths[space], self.banks.modalities_of(space))

    def others(self) -> list[str]:
        """All spaces but the base."""
        return [s for s in self.banks.spaces if s != self.base]


class BindingMethod(Recorded, ABC):
    """A way to bind spaces; a subclass says what joins them."""

    #: Whether validation pairs make a difference.
    reads_validation = False

    def check(self, task: Task) -> None:
        """Refuses what cannot be bound, before any work.

        Raises:
            ConfigError: a base that is no space, or one that nothing joins to it.
        """
        task.banks.require_connected(task.base)
        if task.validation and not self.reads_validation:
            raise ConfigError(
                f"{type(self).__name__} chooses nothing on validation pairs; FreeBind does. Leave "
                "validation out."
            )

    @abstractmethod
    def build(self, task: Task) -> Node:
        """Fits what is to be fitted, stage by stage."""
