"""Modality dropout of a training batch, as every task of rows applies it."""

from __future__ import annotations

import torch

from mmfuse.batch import Batch
from mmfuse.missing import ModalityDropout, RowFacts


def thinned(batch: Batch, dropout: ModalityDropout, epoch: int) -> Batch:
    """A batch whose rows lose modalities, drawn for the epoch from the seed and the row alone."""
    unknown = torch.full_like(batch.index, -1)
    facts = RowFacts(
        batch.modalities,
        batch.index,
        batch.present,
        unknown,
        torch.full(batch.present.shape, 0.5),
    )
    return batch.keep(dropout.keep(facts, epoch=epoch))
