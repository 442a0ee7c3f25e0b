"""Stage 1: projectors that bring what one node embeds into another's space, by pseudo pairs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import torch
from torch import Tensor

from mmfuse.binding.drawn import Drawn
from mmfuse.binding.fit import Progress, Training
from mmfuse.binding.methods.base import BindingMethod, Task
from mmfuse.binding.nodes import Bond, Embedded, Node
from mmfuse.binding.pairs import Pairs, Tuples
from mmfuse.errors import ConfigError
from mmfuse.fusion.routing import Projector
from mmfuse.objectives.contrastive import multi_positive


class ProjectingMethod(BindingMethod):
    """Base of the methods that learn projectors from pseudo pairs.

    Args:
        pairs: how pseudo pairs are made.
        training: of each stage.
        hidden: width of the projectors' hidden layer.
        members: perceptrons a projector averages.
        intra: factor of the term that brings a space's own modalities together.

    Raises:
        ConfigError: a width or number below 1, or a factor below 0.
    """

    def __init__(
        self, pairs: Pairs, training: Training | None, hidden: int, members: int, intra: float
    ) -> None:
        if min(hidden, members) < 1 or not intra >= 0:
            raise ConfigError(
                f"{type(self).__name__}: hidden {hidden}, members {members}, intra {intra}; "
                "expected widths and numbers of 1 or more, and a factor of 0 or more."
            )
        self.pairs, self.training = pairs, training or Training()
        self.hidden, self.members, self.intra = hidden, members, intra

    def tuples(self, task: Task) -> Tuples:
        """The pseudo pairs, a stage of their own."""
        banks = task.banks
        found = task.stages.tensors("pairs", lambda: self.pairs.find(banks))
        return self.pairs.tuples(banks, found)

    def projector(
        self, task: Task, name: str, source: Node, target: Node, tuples: Tuples
    ) -> Projector:
        """Projects what ``source`` embeds into the space of ``target``.

        The loss of some tuples is the mean of InfoNCE over every modality of the source with
        every one of the target, where a tuple has both, and ``intra`` times that of
        ``closeness`` over the pairs of the source's modalities.

        Args:
            task: what there is to bind.
            name: of the stage; each member is one.
            source: what is projected, frozen.
            target: where to, frozen.
            tuples: pseudo pairs.
        """

        def loss(projector: Projector, drawn: Drawn) -> Tensor:
            with torch.no_grad():
                found, there = embedded(source, drawn), embedded(target, drawn)
            mine = projected(projector, found)
            between = [
                contrast(
                    mine[a],
                    there[b].vector,
                    found[a].present & there[b].present,
                    drawn.meaning,
                    self.training.scale,
                )
                for a, b in itertools.product(mine, there)
            ]
            within = [
                closeness(mine[a], mine[b], found[a].present & found[b].present)
                for a, b in itertools.combinations(mine, 2)
            ]
            return torch.stack(between).mean() + self.intra * sum(within) / max(1, len(within))

        def fit(projector: Projector, progress: Progress) -> None:
            self.training.fit(projector, tuples, lambda drawn: loss(projector, drawn), progress)

        fitted = [
            task.stages.fitted(
                f"projector-{name}-{j}",
                lambda: Projector(source.width, target.width, self.hidden),
                fit,
            )
            for j in range(self.members)
        ]
        joined = Projector(source.width, target.width, self.hidden, self.members)
        for member, one in zip(joined.members, fitted, strict=True):
            member.load_state_dict(one.members[0].state_dict())
        return joined.eval().requires_grad_(False)

    def into_base(self, task: Task, tuples: Tuples) -> Bond:
        """Every space beside the base, projected into it; weights are equal."""
        base = task.leaf(task.base)
        projectors: list[Projector | None] = [None]
        parts: list[Node] = [base]
        for space in task.others():
            leaf = task.leaf(space)
            projectors.append(self.projector(task, space, leaf, base, tuples))
            parts.append(leaf)
        return Bond(parts, projectors).eval()


def contrast(x: Tensor, y: Tensor, valid: Tensor, meaning: Tensor, scale: float) -> Tensor:
    """Symmetric InfoNCE over the valid rows; those of one meaning are right answers alike."""
    return multi_positive(x, y, scale, labels=meaning, valid=valid)


def closeness(x: Tensor, y: Tensor, both: Tensor) -> Tensor:
    """C-MCR's intra-space term: half the mean squared distance over the rows that have both."""
    apart = (x - y).square().sum(dim=1) * both
    return apart.sum() / both.sum().clamp(min=1) / 2


def embedded(node: Node, drawn: Drawn) -> dict[str, Embedded]:
    """What a node says of every member of some tuples."""
    return {m: node(m, drawn.vectors[m], drawn.present[m]) for m in node.modalities}


def projected(projector: Projector, found: Mapping[str, Embedded]) -> dict[str, Tensor]:
    """All modalities brought into the other space at once.

    So that the statistics of the batch norms are those of all, as they will be at the end.
    """
    joined = torch.cat([f.vector for f in found.values()])
    present = torch.cat([f.present for f in found.values()])
    parts = projector(joined, present).split([len(f.vector) for f in found.values()])
    return dict(zip(found, parts, strict=True))
