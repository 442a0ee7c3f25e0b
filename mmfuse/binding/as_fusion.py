"""A bound space of one modality as a RouterFusion, whose modalities are the spaces."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from mmfuse.binding.nodes import Bond, Leaf, Node
from mmfuse.errors import ConfigError
from mmfuse.fusion.router import RouterFusion
from mmfuse.fusion.routing import Projector, Router


def router_fusion(root: Node, modality: str, prior: Tensor) -> RouterFusion:
    """The fusion module that gives what ``root`` gives.

    Args:
        root: of a bound space.
        modality: one that it embeds.
        prior: what a row that no space has gets.

    Raises:
        ConfigError: fixed factors, or bonds within bonds, which no one router describes.
    """
    bond = cast(Bond, Bond([root], [None]) if isinstance(root, Leaf) else root)
    places = bond.places(modality)
    weigher = bond.weigher(modality)
    leaves = [part for part in (bond.parts[i] for i in places) if isinstance(part, Leaf)]
    projectors = [p if isinstance(p := bond.projectors[i], Projector) else None for i in places]
    if (
        len(leaves) < len(places)
        or not (weigher is None or isinstance(weigher, Router))
        or projectors.count(None) > 1
    ):
        raise ConfigError(
            f"{modality!r} is bound by fixed factors or in several steps, which no one router "
            "describes. What MeanOfSpaces, CMCR and OmniBind bind can be a RouterFusion."
        )
    base = next((x.space for x, p in zip(leaves, projectors, strict=True) if p is None), None)
    fusion = RouterFusion(
        {leaf.space: leaf.width for leaf in leaves},
        bond.width,
        base=base,
        **_options(projectors, weigher),
    )
    with torch.no_grad():
        fusion.prior.copy_(prior)
        for leaf, projector in zip(leaves, projectors, strict=True):
            if projector is not None:
                fusion.projectors[leaf.space].load_state_dict(projector.state_dict())
        if weigher is not None:
            fusion.router.load_state_dict(weigher.state_dict())
        else:
            fusion.router.indifferent()
    return fusion.eval()


def _options(projectors: list[Projector | None], weigher: nn.Module | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for projector in projectors:
        if projector is not None:
            found |= {"hidden": projector.hidden, "members": len(projector.members)}
    if isinstance(weigher, Router):
        found |= {"router_hidden": weigher.hidden, "sharpness": weigher.sharpness}
    return found
