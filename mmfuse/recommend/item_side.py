"""ItemSide: how a recommender sees items through their modalities."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmfuse.batch import Batch
from mmfuse.data.datamodule import Split
from mmfuse.errors import ConfigError
from mmfuse.missing import ModalityDropout, RowFacts
from mmfuse.model import FusionModel
from mmfuse.recommend.content import Catalogue, ItemContent
from mmfuse.recommend.items import ItemVectors

#: Items that are encoded at a time outside of training.
_BLOCK = 4096


class ItemSide(nn.Module):
    """Base of ``RecommendationModel``: items, encoded from where the data has them."""

    item: ItemVectors
    tower: FusionModel | None
    modality_dropout: ModalityDropout | None
    catalogue: Catalogue | None
    epoch: int | None

    def look_at(self, catalogue: Catalogue | None) -> None:
        """Takes the items' modalities, which are data and no part of the model.

        Raises:
            ConfigError: the model has no use for them, or they are lacking.
        """
        if (catalogue is None) != (self.tower is None):
            raise ConfigError(
                "The model reads item modalities and the data has none, or the other way round. "
                "Give both or neither."
            )
        self.catalogue = catalogue

    def encode(
        self, codes: Tensor | None = None, given: Batch | None = None, split: Split = "train"
    ) -> ItemContent | None:
        """Some items through their modalities; None where there is no tower.

        Args:
            codes: ``(n,)`` long, ascending; None for all.
            given: their rows, where the loader brought them.
            split: whose simulated absence applies.
        """
        if self.tower is None:
            return None
        assert self.catalogue is not None or given is not None
        batch = given if given is not None else self.catalogue.batch(codes, split)  # type: ignore[union-attr]
        device = next(self.tower.parameters()).device
        batch = batch if batch.index.device == device else batch.to(device)
        return ItemContent.of(self.tower, self._thinned(batch))

    def _thinned(self, batch: Batch) -> Batch:
        if self.modality_dropout is None or not self.training:
            return batch
        present = batch.present.cpu()
        unknown, middle = torch.full((len(batch),), -1), torch.full(present.shape, 0.5)
        facts = RowFacts(batch.modalities, batch.index.cpu(), present, unknown, middle)
        return batch.keep(
            self.modality_dropout.keep(facts, self.epoch or 0).to(batch.present.device)
        )

    def _fused(self, split: Split = "train") -> Tensor | None:
        """What enters the vectors of all items, a block at a time."""
        if self.item.content == "none":
            return None
        every = torch.arange(len(self.item.warm)).split(_BLOCK)
        return torch.cat([c.vector for codes in every if (c := self.encode(codes, None, split))])
