"""Running statistics of a merged model, estimated anew on training rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch

from mmfuse.batch import Batch
from mmfuse.encoder import Encoder
from mmfuse.model import FusionModel


def running(model: FusionModel) -> list[Any]:
    """The modules that keep running statistics and may change.

    Torch's batch norms do, and every module with ``reset_running_stats`` and ``momentum``
    like theirs. Those of frozen encoders stay as they are.
    """
    frozen = {
        id(m) for e in model.encoders.values() if cast(Encoder, e).frozen for m in e.modules()
    }
    return [
        m
        for m in model.modules()
        if id(m) not in frozen
        and hasattr(m, "reset_running_stats")
        and getattr(m, "track_running_stats", True)
    ]


def reestimate(model: FusionModel, batches: Iterable[Batch]) -> int:
    """Gives a merged model the running statistics of its own activations.

    An average of batch-norm statistics is not the statistics of the average: they are reset,
    and are then the plain mean over the batches. Nothing else of the model moves, and
    dropout is off. As always an encoder sees the rows that have its modality; a modality
    that one row of a batch alone has sits that batch out, as one row has no variance.

    Args:
        model: changed in place.
        batches: training rows, such as ``data.loader("train")``.

    Returns:
        how many modules were given statistics; without any the batches are not read.

    Reference: Izmailov et al., "Averaging Weights Leads to Wider Optima and Better
    Generalization", UAI 2018, arXiv:1803.05407, section 3.2; ``torch.optim.swa_utils``.
    Departs from torch's ``update_bn``: only the modules with statistics are in training mode.
    """
    found = running(model)
    if not found:
        return 0
    modes = [(m, m.training) for m in model.modules()]
    momenta = [m.momentum for m in found]
    device = next(model.parameters()).device
    model.eval()
    try:
        for module in found:
            module.training = True  # not train(), which would wake dropout inside it
            module.momentum = None  # the plain mean over batches
            module.reset_running_stats()
        with torch.no_grad():
            for batch in batches:
                enough = batch.present.sum(dim=0) > 1
                if len(batch) > 1 and enough.any():
                    model(batch.keep(enough.expand_as(batch.present)).to(device))
    finally:
        for module, momentum in zip(found, momenta, strict=True):
            module.momentum = momentum
        for module, mode in modes:
            module.training = mode
    return len(found)
