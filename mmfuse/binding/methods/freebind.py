"""FreeBind: expert spaces bound to the base one after the other, with factors that are chosen."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from mmfuse.binding.drawn import Drawn
from mmfuse.binding.fit import Training
from mmfuse.binding.methods.base import Task
from mmfuse.binding.methods.projecting import ProjectingMethod
from mmfuse.binding.nodes import Bond, Factors, Members, Node
from mmfuse.binding.pairs import Pairs
from mmfuse.binding.retrieval import Retrieval
from mmfuse.errors import ConfigError
from mmfuse.fusion.routing import Projector
from mmfuse.retrieval import retrieval_scores

#: Validation tuples that a choice looks at.
_MOST = 1000
#: The grid of factors, and how far its finer steps reach.
_COARSE, _FINER = (0.0, 0.25, 0.5, 0.75, 1.0), (0.125, 0.0625)


class FreeBind(ProjectingMethod):
    """Bonds between the unified space, at first the base, and one expert space after the other.

    A displacement bond projects the unified space into the expert's; a combination bond projects
    the expert's into the unified one. Then, for each modality that both embed, with a factor of
    its own::

        z = unit((1 - factor) z_unified + factor z_expert)

    Factors are chosen, coarse to fine and one modality after the other, by cross-modal retrieval
    (mean average precision over all pairs of modalities, in both directions) on held-out items:
    on the validation pairs that ``bind`` is given, or else on pseudo pairs of held-out items.

    Args:
        displacement: the experts to displace the unified space into, in this order, first.
        combination: the experts to combine it with, in this order, after; all the others by
            default.
        pairs: how pseudo pairs are made; ``Retrieval`` by default.
        training: of each projector.
        hidden: width of the projectors' hidden layer.
        members: perceptrons a projector averages.
        intra: factor of the term that brings a space's own modalities together.

    Raises:
        ConfigError: at ``bind``, an expert that is no space, is named twice or is the base; or
            no item is held out.

    Reference: Wang et al., "FreeBind: Free Lunch in Unified Multimodal Space via Knowledge
        Fusion", ICML 2024, arXiv:2405.04883.

    Departs from the paper: factors are chosen by a search rather than by hand.
    """

    reads_validation = True

    def __init__(
        self,
        displacement: Sequence[str] = (),
        combination: Sequence[str] | None = None,
        pairs: Pairs | None = None,
        training: Training | None = None,
        hidden: int = 2048,
        members: int = 1,
        intra: float = 0.1,
    ) -> None:
        self.displacement = tuple(displacement)
        self.combination = None if combination is None else tuple(combination)
        super().__init__(pairs or Retrieval(), training, hidden, members, intra)

    def experts(self, task: Task) -> list[tuple[str, bool]]:
        """Each expert, and whether the unified space is displaced into it."""
        combined = self.combination
        if combined is None:
            combined = tuple(s for s in task.others() if s not in self.displacement)
        return [(s, True) for s in self.displacement] + [(s, False) for s in combined]

    def check(self, task: Task) -> None:
        """Experts are spaces beside the base, and something is held out to choose factors on."""
        super().check(task)
        names = [name for name, _ in self.experts(task)]
        if not names or len(set(names)) < len(names) or not set(names) <= set(task.others()):
            raise ConfigError(
                f"FreeBind: the experts are {names}; expected one or more of "
                f"{', '.join(task.others())}, each once."
            )
        if not any(len(rows) for rows in task.banks.rows(held_out=True).values()):
            raise ConfigError(
                "FreeBind chooses its factors on held-out items, and there are none. Mark some "
                "rows of the pools as held_out, or extract a validation split."
            )

    def build(self, task: Task) -> Node:
        """Pairs, then for each expert a projector and factors."""
        tuples = self.tuples(task)
        judges = self._judges(task)
        node: Node = task.leaf(task.base)
        for expert, is_displaced in self.experts(task):
            leaf = task.leaf(expert)
            source, target = (node, leaf) if is_displaced else (leaf, node)
            projector = self.projector(task, expert, source, target, tuples)
            projectors: list[Projector | None] = (
                [projector, None] if is_displaced else [None, projector]
            )
            plain = Bond([node, leaf], projectors).eval()
            shared = [m for m in node.modalities if m in leaf.modalities]
            chosen = task.stages.tensors(
                f"factors-{expert}", partial(chosen_factors, plain, shared, judges)
            )
            weighing = {
                m: Factors([1 - f, f])
                for m, f in zip(shared, chosen["factors"].tolist(), strict=True)
            }
            node = Bond([node, leaf], projectors, weighing).eval()
        return node

    def _judges(self, task: Task) -> list[Drawn]:
        """Held-out tuples, true ones if there are any."""
        generator = torch.Generator().manual_seed(task.stages.seed)
        if task.validation:
            return [true_tuples(task, a, b, generator) for a, b in task.validation]
        found = task.stages.tensors(
            "validation-pairs", lambda: self.pairs.find(task.banks, held_out=True)
        )
        tuples = self.pairs.tuples(task.banks, found)
        some = torch.randperm(len(tuples), generator=generator)[:_MOST]
        return [tuples.draw(some, generator)]


def true_tuples(task: Task, first: str, second: str, generator: torch.Generator) -> Drawn:
    """Held-out rows of two pools that belong together.

    Raises:
        ConfigError: pools that do not exist, are of one modality or of unequal length, or hold
            out no row together.
    """
    banks = task.banks
    if unknown := {first, second} - set(banks.pools):
        raise ConfigError(
            f"validation names {sorted(unknown)}; the pools are {', '.join(banks.pools)}."
        )
    a, b = banks.pools[first], banks.pools[second]
    if a.modality == b.modality or len(a) != len(b):
        raise ConfigError(
            f"validation pairs {first!r} ({len(a)} of {a.modality!r}) with {second!r} ({len(b)} of "
            f"{b.modality!r}); expected as many rows of another modality."
        )
    rows = (a.held_out & b.held_out).nonzero().squeeze(1)
    if len(rows) < 2:
        raise ConfigError(
            f"{first!r} and {second!r} hold out {len(rows)} rows together; hold out 2 up."
        )
    rows = rows[torch.randperm(len(rows), generator=generator)[:_MOST]].sort().values
    chosen = {m: torch.full((len(rows),), -1) for m in banks.modalities}
    for name in (first, second):
        chosen[banks.pools[name].modality] = rows + banks.start_of(name)
    return banks.drawn(chosen, banks.of[b.modality].item[chosen[b.modality]])


@dataclass(frozen=True)
class _Judged:
    """What the parts of a bond say of held-out tuples, by modality, and which are alike."""

    members: Mapping[str, Members]
    meaning: Tensor

    def score(self, weights: Mapping[str, Tensor]) -> list[float]:
        """Mean average precision for each ordered pair of modalities."""
        vectors, present = {}, {}
        for m, parts in self.members.items():
            shares = weights[m] * parts.present if m in weights else parts.present.float()
            vectors[m] = parts.mixed(shares / shares.sum(dim=1, keepdim=True).clamp(min=1e-12))
            present[m] = parts.present.any(dim=1)
        found = []
        for a, b in itertools.permutations(vectors, 2):
            both = present[a] & present[b]
            if both.sum() > 1:
                same = self.meaning[both].unique(return_inverse=True)[1]
                alone = len(same.unique()) == len(same)  # pairs are quicker to score than labels
                labels = {} if alone else {"query_labels": same, "item_labels": same}
                scores = retrieval_scores(vectors[a][both], vectors[b][both], **labels)
                found.append(scores.mean_average_precision)
        return found


def chosen_factors(bond: Bond, shared: Sequence[str], judges: Sequence[Drawn]) -> dict[str, Tensor]:
    """The expert's factor of each shared modality, coarse to fine.

    Args:
        bond: of the unified space and the expert, in this order.
        shared: the modalities that both embed.
        judges: held-out tuples.
    """
    with torch.no_grad():
        judged = [
            _Judged(
                {m: bond.members(m, d.vectors[m], d.present[m]) for m in bond.modalities}, d.meaning
            )
            for d in judges
        ]
    factors = dict.fromkeys(shared, 0.5)

    def score(tried: Mapping[str, float]) -> float:
        weights = {m: torch.tensor([1 - f, f]) for m, f in tried.items()}
        found = [value for j in judged for value in j.score(weights)]
        return sum(found) / max(1, len(found))

    best = score(factors)
    for reach in (None, *_FINER):
        for m in shared:
            centre = factors[m]
            grid = _COARSE if reach is None else (centre - reach, centre + reach)
            for f in grid:
                if 0 <= f <= 1 and (value := score({**factors, m: f})) > best:
                    best, factors = value, {**factors, m: f}
    return {"factors": torch.tensor([factors[m] for m in shared])}
