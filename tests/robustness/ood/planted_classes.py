"""A planted task: two views of a class each, and rows of classes that no model has seen."""

from __future__ import annotations

import torch

from mmfuse import Batch

WIDTHS = {"a": 6, "b": 5}
CLASSES = ("red", "green", "blue")
#: Where the rows of each class lie; the last two are no classes of the model.
CENTRES = {
    m: 3 * torch.randn(5, w, generator=torch.Generator().manual_seed(w)) for m, w in WIDTHS.items()
}


def rows(classes: range, count: int, seed: int, gaps: float = 0.0) -> Batch:
    """Rows of these classes, some without a modality."""
    draw = torch.Generator().manual_seed(seed)
    label = torch.randint(classes.start, classes.stop, (count,), generator=draw)
    inputs = {
        m: CENTRES[m][label] + torch.randn(count, w, generator=draw) for m, w in WIDTHS.items()
    }
    present = torch.rand(count, 2, generator=draw) >= gaps
    return Batch(tuple(WIDTHS), inputs, present, {"kind": label})


def unlabelled(batch: Batch) -> Batch:
    return Batch(batch.modalities, batch.inputs, batch.present)
