"""Parts: what each modality adds to the final vectors of items, for an explanation of scores."""

from __future__ import annotations

import torch
from torch import Tensor

from mmfuse.errors import ConfigError
from mmfuse.recommend.content import ItemContent
from mmfuse.recommend.explanation import shapley_parts
from mmfuse.recommend.model import RecommendationModel

#: Items that are encoded at a time.
_BLOCK = 4096


@torch.no_grad()
def item_parts(model: RecommendationModel) -> dict[str, Tensor]:
    """What each modality adds to the items' final vectors; see ``shapley_parts``.

    Users' vectors stay as they are, so that their dot products with the parts of an item add up
    to its score. Every item is encoded 2^M times.

    Args:
        model: with its catalogue attached.

    Returns:
        ``(I, D)`` for each modality, and for ``base``, which holds the id.

    Raises:
        ConfigError: modalities do not enter the items' vectors, or there are more than eight.
    """
    if model.tower is None or model.catalogue is None or model.item.content == "none":
        raise ConfigError(
            "Modalities do not enter the items' vectors, so that they have no parts. Set "
            "ItemVectors' content to concat or add."
        )
    tower, catalogue = model.tower, model.catalogue
    device = tower.fusion.prior.device
    blocks = list(torch.arange(len(model.item.taken)).split(_BLOCK))
    present = torch.cat([catalogue.batch(block).present for block in blocks])

    def encode(some: Tensor) -> Tensor:
        fused = [
            ItemContent.of(tower, catalogue.batch(block).keep(some[block]).to(device)).vector
            for block in blocks
        ]
        return model.final_items(torch.cat(fused))

    was_training = model.training
    model.eval()
    try:
        return shapley_parts(encode, present, catalogue.batch(blocks[0][:1]).modalities)
    finally:
        model.train(was_training)
