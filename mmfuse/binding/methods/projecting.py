"""Stage 1: projectors that bring what one node embeds into another's space, by pseudo pairs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import torch
from torch import Tensor

from mmfuse.binding.drawn import Drawn
from mmfuse.binding.fit import Progress, Training
from mmfuse.binding.methods.base import Task
from mmfuse.binding.nodes import Bond, Embedded, Node
from mmfuse.binding.pairs import Pairs, Tuples
from mmfuse.fusion.routing import Projector
from mmfuse.objectives.contrastive import info_nce


def contrast(x: Tensor, y: Tensor, valid: Tensor, group: Tensor, scale: float) -> Tensor:
    """Symmetric InfoNCE over the valid rows; rows of one group are not told apart."""
    return info_nce(x, y, scale, valid=valid)


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


def find_tuples(task: Task, pairs: Pairs) -> Tuples:
    """The pseudo pairs, a stage of their own."""
    banks = task.banks
    return pairs.tuples(banks, task.stages.tensors("pairs", lambda: pairs.find(banks)))


def fit_projector(
    task: Task,
    name: str,
    source: Node,
    target: Node,
    tuples: Tuples,
    training: Training,
    hidden: int,
    members: int,
    intra: float,
) -> Projector:
    """Projects what ``source`` embeds into the space of ``target``.

    The loss of some tuples is the mean of InfoNCE over every modality of the source with every
    one of the target, where a tuple has both, and ``intra`` times that of ``closeness`` over the
    pairs of the source's modalities.

    Args:
        task: what there is to bind.
        name: of the stage.
        source: what is projected, frozen.
        target: where to, frozen.
        tuples: pseudo pairs.
        training: how.
        hidden: width of the projector's hidden layer.
        members: perceptrons that are averaged; each is a stage of its own.
        intra: factor of the intra-space term.
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
                drawn.group,
                training.scale,
            )
            for a, b in itertools.product(mine, there)
        ]
        within = [
            closeness(mine[a], mine[b], found[a].present & found[b].present)
            for a, b in itertools.combinations(mine, 2)
        ]
        return torch.stack(between).mean() + intra * sum(within) / max(1, len(within))

    def fit(projector: Projector, progress: Progress) -> None:
        training.fit(projector, tuples, lambda drawn: loss(projector, drawn), progress)

    fitted = [
        task.stages.fitted(
            f"projector-{name}-{j}", lambda: Projector(source.width, target.width, hidden), fit
        )
        for j in range(members)
    ]
    joined = Projector(source.width, target.width, hidden, members)
    for member, one in zip(joined.members, fitted, strict=True):
        member.load_state_dict(one.members[0].state_dict())
    return joined.eval().requires_grad_(False)


def into_base(
    task: Task, tuples: Tuples, training: Training, hidden: int, members: int, intra: float
) -> Bond:
    """Every space beside the base, projected into it; weights are equal."""
    base = task.leaf(task.base)
    projectors: list[Projector | None] = [None]
    parts: list[Node] = [base]
    for space in task.others():
        leaf = task.leaf(space)
        projectors.append(
            fit_projector(task, space, leaf, base, tuples, training, hidden, members, intra)
        )
        parts.append(leaf)
    return Bond(parts, projectors).eval()
