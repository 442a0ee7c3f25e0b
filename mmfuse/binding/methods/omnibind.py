"""OmniBind: projectors into the base, then routers that weigh the spaces row by row."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmfuse.binding.banks import Banks
from mmfuse.binding.drawn import Drawn
from mmfuse.binding.fit import Progress, Training
from mmfuse.binding.methods.base import Task
from mmfuse.binding.methods.projecting import ProjectingMethod, contrast
from mmfuse.binding.nodes import Bond, Leaf, Members, Node
from mmfuse.binding.pairs import Pairs
from mmfuse.binding.retrieval import Retrieval
from mmfuse.errors import ConfigError
from mmfuse.fusion.routing import Router


class OmniBind(ProjectingMethod):
    """Spaces projected into the base, under weights that a router reads from each row.

    Each modality that several spaces embed has a router. With all else frozen, they learn

    (i) cross-modal overall alignment: the mean over the pairs of modalities of InfoNCE between
    the routed embeddings of a pseudo-paired tuple;

    (ii) language representation decoupling, ``decoupling`` times: the binary cross-entropy of
    the router's sigmoids on items of pools that say which spaces were ``trained`` on their
    source, against 1 for those spaces and 0 for the others, over the spaces that have the item.

    Args:
        decoupling: factor of (ii); 0 leaves (i) alone.
        pairs: how pseudo pairs are made; ``Retrieval`` by default.
        training: of each projector, and of the routers together.
        hidden: width of the projectors' hidden layer.
        members: perceptrons a projector averages; the authors take 7.
        intra: factor of the term that brings a space's own modalities together.
        router_hidden: widths of a router's hidden layers.
        sharpness: factor before the softmax, for modalities of which some pool says what was
            ``trained`` on it, text as a rule; 1 for the others.

    Raises:
        ConfigError: a factor below 0; or, at ``bind``, decoupling where no pool says what was
            trained on it.

    Reference: Wang et al., "OmniBind: Large-scale Omni Multimodal Representation via Binding
        Spaces", 2024, arXiv:2407.11895; layers and sharpness are those of the authors' code.

    Departs from the paper: a row may lack spaces, which then take no part in its softmax; the
    intra-space term is C-MCR's (arXiv:2305.14381); what (ii) compares is read from the code, as
    the paper leaves it open.
    """

    def __init__(
        self,
        decoupling: float = 1.0,
        pairs: Pairs | None = None,
        training: Training | None = None,
        hidden: int = 2048,
        members: int = 1,
        intra: float = 0.1,
        router_hidden: Sequence[int] = (512, 100),
        sharpness: float = 10.0,
    ) -> None:
        super().__init__(pairs or Retrieval(), training, hidden, members, intra)
        if not decoupling >= 0:
            raise ConfigError(f"OmniBind: decoupling is {decoupling}; expected 0 or more.")
        self.decoupling, self.sharpness = decoupling, sharpness
        self.router_hidden = tuple(router_hidden)

    def check(self, task: Task) -> None:
        """Decoupling needs pools that say what was trained on them."""
        super().check(task)
        if self.decoupling and not sources(task.banks):
            raise ConfigError(
                "OmniBind: decoupling learns from pools, of a modality that several spaces embed, "
                "that say which spaces were trained on their source, and none does. Name them as "
                "trained, or set decoupling to 0."
            )

    def build(self, task: Task) -> Node:
        """Pairs, projectors, routers."""
        tuples = self.tuples(task)
        bond = self.into_base(task, tuples)
        several = [m for m in bond.modalities if len(bond.places(m)) > 1]
        if not several:
            return bond
        known = sources(task.banks)

        def make() -> nn.ModuleDict:
            return nn.ModuleDict(
                {
                    m: Router(
                        sum(bond.parts[i].width for i in bond.places(m)),  # type: ignore[misc]
                        len(bond.places(m)),
                        self.router_hidden,
                        self.sharpness if m in known else 1.0,
                    )
                    for m in several
                }
            )

        def fit(routers: nn.ModuleDict, progress: Progress) -> None:
            objective = _RouterObjective(task.banks, bond, routers, self.training.scale)
            self.training.fit(routers, tuples, lambda d: objective(d, self.decoupling), progress)

        routers = task.stages.fitted("routers", make, fit)
        projectors = [None if isinstance(p, nn.Identity) else p for p in bond.projectors]
        return Bond(list(bond.parts), projectors, dict(routers)).eval()  # type: ignore[arg-type]


def sources(banks: Banks) -> dict[str, Tensor]:
    """For each modality whose pools say what was trained on them, who was.

    Returns:
        ``(pools, spaces)``, by the order of ``banks.pools`` and ``banks.spaces``: 1 for trained,
        0 for not, NaN where the pool does not say or is of another modality.
    """
    found = {}
    for m, bank in banks.of.items():
        told = torch.full((len(banks.pools), len(banks.spaces)), torch.nan)
        for i, pool in enumerate(banks.pools.values()):
            if pool.modality == m and pool.trained:
                told[i] = torch.tensor([float(s in pool.trained) for s in banks.spaces])
        if len(bank.vectors) > 1 and told.isfinite().any():
            found[m] = told
    return found


class _RouterObjective:
    """The two objectives of the routers on some tuples."""

    def __init__(self, banks: Banks, bond: Bond, routers: nn.ModuleDict, scale: float) -> None:
        self.banks, self.bond, self.routers, self.scale = banks, bond, routers, scale
        self.sources = sources(banks)
        self.columns = {
            m: [banks.spaces.index(_space(bond.parts[i])) for i in bond.places(m)]
            for m in bond.modalities
        }

    def __call__(self, drawn: Drawn, decoupling: float) -> Tensor:
        vectors, present, decoupled = {}, {}, []
        for m in self.bond.modalities:
            with torch.no_grad():
                members = self.bond.members(m, drawn.vectors[m], drawn.present[m])
            present[m] = members.present.any(dim=1)
            if m not in self.routers:
                vectors[m] = members.projected[:, 0]
                continue
            router = self.routers[m]
            logits = router.logits(members.joined, members.present)  # type: ignore[operator]
            weights = router.weigh(logits, members.present)  # type: ignore[operator]
            vectors[m] = members.mixed(weights)
            if decoupling and m in self.sources:
                decoupled.append(self._decoupling(m, logits, members, drawn.rows[m]))
        pairs = list(itertools.combinations(vectors, 2))
        aligned = [
            contrast(vectors[a], vectors[b], present[a] & present[b], drawn.meaning, self.scale)
            for a, b in pairs
        ]
        total = torch.stack(aligned).mean()
        return total + decoupling * torch.stack(decoupled).mean() if decoupled else total

    def _decoupling(self, modality: str, logits: Tensor, members: Members, rows: Tensor) -> Tensor:
        bank = self.banks.of[modality]
        told = self.sources[modality][bank.pool[rows.clamp(min=0)]][:, self.columns[modality]]
        known = members.present & told.isfinite() & (rows >= 0).unsqueeze(1)
        losses = F.binary_cross_entropy_with_logits(logits, told.nan_to_num(), reduction="none")
        return (losses * known).sum() / known.sum().clamp(min=1)


def _space(part: nn.Module) -> str:
    assert isinstance(part, Leaf)
    return part.space
