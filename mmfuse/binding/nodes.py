"""What a bound space is made of: leaves, which are frozen spaces, and bonds that join them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from mmfuse.errors import ConfigError
from mmfuse.fusion.base import equal_weights
from mmfuse.fusion.routing import Projector, Router
from mmfuse.recorded import Recorded
from mmfuse.unit import unit


@dataclass(frozen=True)
class Embedded:
    """What a node says of some rows of one modality.

    Args:
        vector: ``(B, D)`` of unit length, zero where absent.
        present: ``(B,)`` bool.
        shares: for each space that took part ``(B,)``; a row's add up to one where present.
    """

    vector: Tensor
    present: Tensor
    shares: Mapping[str, Tensor]


@dataclass(frozen=True)
class Members:
    """What the parts of a bond say of some rows.

    Args:
        joined: ``(B, sum of the parts' widths)``, before projection; what a router reads.
        projected: ``(B, P, D)`` in the joint space.
        present: ``(B, P)`` bool.
        shares: of the spaces in each part.
    """

    joined: Tensor
    projected: Tensor
    present: Tensor
    shares: Sequence[Mapping[str, Tensor]]

    def mixed(self, weights: Tensor) -> Tensor:
        """The joint vector under weights ``(B, P)``."""
        return unit(torch.einsum("bpd,bp->bd", self.projected, weights))


class Node(nn.Module, Recorded, ABC):
    """Embeds rows from the vectors of frozen spaces.

    Args:
        width: of its vectors.
        modalities: what it embeds.
    """

    def __init__(self, width: int, modalities: Sequence[str]) -> None:
        super().__init__()
        self.width, self.modalities = width, tuple(modalities)

    @abstractmethod
    def forward(
        self, modality: str, vectors: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> Embedded:
        """Embeds rows.

        Args:
            modality: of the rows, one of ``modalities``.
            vectors: for each space ``(B, width)`` of unit length, zero where absent. A space
                may be left out if another is there.
            present: for the same spaces ``(B,)`` bool.
        """


class Leaf(Node):
    """One frozen space.

    Args:
        space: its name.
        width: of its vectors.
        modalities: what it embeds.
    """

    def __init__(self, space: str, width: int, modalities: Sequence[str]) -> None:
        super().__init__(width, modalities)
        self.space = space

    def forward(
        self, modality: str, vectors: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> Embedded:
        """The vectors as they are."""
        if self.space not in vectors:
            like = next(iter(vectors.values()))
            nothing = like.new_zeros(len(like), self.width)
            absent = torch.zeros(len(like), dtype=torch.bool, device=like.device)
            return Embedded(nothing, absent, {self.space: like.new_zeros(len(like))})
        here = present[self.space]
        return Embedded(vectors[self.space], here, {self.space: here.to(torch.float32)})


class Factors(nn.Module, Recorded):
    """Fixed weights of several sources, shared out anew among those that are present.

    Args:
        factors: one a source, of which one at least is above 0.

    Shape:
        x (B, width), present (B, K) -> weights (B, K), zero where absent
    """

    def __init__(self, factors: Sequence[float]) -> None:
        super().__init__()
        if min(factors) < 0 or not max(factors) > 0:
            raise ConfigError(f"Factors are {list(factors)}; expected 0 or more, one above 0.")
        self.factors: Tensor
        self.register_buffer("factors", torch.tensor([float(f) for f in factors]))

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """The weights; equal where none of the present has any."""
        weights = self.factors.to(x.dtype) * present
        total = weights.sum(dim=1, keepdim=True)
        return torch.where(
            total > 0, weights / total.where(total > 0, 1), equal_weights(present, x.dtype)
        )


class Bond(Node):
    """Several nodes in one space, mixed.

    ::

        z_p = projector_p(x_p),   vector = unit(sum_{p present} w_p z_p)

    Args:
        parts: the nodes.
        projectors: for each part what brings it into the joint space; None where it is that
            space.
        weighing: for a modality what gives the weights of the parts that embed it, in their
            order: ``Router`` or ``Factors``; equal weights by default.

    Raises:
        ConfigError: not one projector or None a part, or widths that do not agree.
    """

    def __init__(
        self,
        parts: Sequence[Node],
        projectors: Sequence[Projector | None],
        weighing: Mapping[str, Router | Factors] | None = None,
    ) -> None:
        widths = {
            part.width if projector is None else projector.out_dim
            for part, projector in zip(parts, projectors, strict=True)
        }
        if len(widths) != 1:
            raise ConfigError(
                f"A bond joins vectors of one width; its parts give {sorted(widths)}."
            )
        modalities = dict.fromkeys(m for part in parts for m in part.modalities)
        super().__init__(widths.pop(), tuple(modalities))
        self.parts = nn.ModuleList(parts)
        self.projectors = nn.ModuleList([p or nn.Identity() for p in projectors])
        self.weighing = nn.ModuleDict(weighing or {})

    def places(self, modality: str) -> list[int]:
        """The places of the parts that embed a modality."""
        return [i for i, part in enumerate(self.parts) if modality in cast(Node, part).modalities]

    def weigher(self, modality: str) -> nn.Module | None:
        """What weighs the parts of a modality; None where they count the same."""
        return dict(self.weighing.items()).get(modality)

    def forward(
        self, modality: str, vectors: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> Embedded:
        """Projects, weighs and adds up."""
        members = self.members(modality, vectors, present)
        weigher = self.weigher(modality)
        if weigher is None:
            weights = equal_weights(members.present, members.projected.dtype)
        else:
            weights = weigher(members.joined, members.present)
        shares: dict[str, Tensor] = {}
        for of_part, weight in zip(members.shares, weights.unbind(dim=1), strict=True):
            for space, share in of_part.items():
                shares[space] = shares.get(space, 0) + share * weight
        return Embedded(members.mixed(weights), members.present.any(dim=1), shares)

    def members(
        self, modality: str, vectors: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> Members:
        """What the parts say, before they are mixed."""
        places = self.places(modality)
        found = [self.parts[i](modality, vectors, present) for i in places]
        projected = [_on_present(self.projectors[i], f) for i, f in zip(places, found, strict=True)]
        return Members(
            torch.cat([f.vector for f in found], dim=1),
            torch.stack(projected, dim=1),
            torch.stack([f.present for f in found], dim=1),
            [f.shares for f in found],
        )


def _on_present(projector: nn.Module, found: Embedded) -> Tensor:
    """Projects the rows that are there, and no other."""
    if isinstance(projector, nn.Identity):
        return found.vector
    if found.present.all():
        projected: Tensor = projector(found.vector)
        return projected
    rows = found.present.nonzero().squeeze(1)
    some = projector(found.vector.index_select(0, rows))
    return some.new_zeros(len(found.vector), some.shape[1]).index_copy(0, rows, some)
