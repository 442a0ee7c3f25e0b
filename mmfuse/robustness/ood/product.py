"""ProductEnergy: the energy of a late fusion that multiplies what its modalities say."""

from __future__ import annotations

import torch
from torch import Tensor

from mmfuse.errors import ConfigError
from mmfuse.fusion.late import LateProductFusion
from mmfuse.robustness.ood.base import Reading, ReadingScore, class_logits
from mmfuse.robustness.ood.from_logits import energy


class ProductEnergy(ReadingScore):
    """Free energy of a product of experts; higher is more out of distribution.

    ``LateProductFusion`` gives log-probabilities, whose energy is 0 for every row. Before they are
    normalised they are the sum of what the head f says of each vote, and so is the energy::

        -T log sum_k exp(sum_{m present} f_k(v_m) / T)

    Experts that are not normalised add their energies up, so that a row with fewer modalities has
    fewer terms, and rows of different subsets do not compare as well as those of one.

    Called on logits that are at hand it takes them for that sum; ``inputs`` makes them.

    Args:
        temperature: T.

    Shape:
        logits (n, K), sums over the present modalities -> (n,), without bounds

    Raises:
        ConfigError: a temperature that is not above 0; in ``inputs``, another fusion.

    Reference: Liu et al., "Energy-based out-of-distribution detection", NeurIPS 2020,
        arXiv:2010.03759, of whose energy it is that of the product.
    """

    def __init__(self, temperature: float = 1.0) -> None:
        if not temperature > 0:
            raise ConfigError(
                f"ProductEnergy: temperature is {temperature}; expected a number above 0."
            )
        self.temperature = temperature

    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        """The energy."""
        return energy(logits, self.temperature)

    def inputs(self, reading: Reading) -> tuple[Tensor, Tensor]:
        """The fused vectors, and the sums; what the head says of the prior for nothing present."""
        fusion, fused = reading.model.fusion, reading.output.fused
        if not isinstance(fusion, LateProductFusion):
            raise ConfigError(
                f"ProductEnergy reads LateProductFusion; the model has {type(fusion).__name__}. "
                "Take Energy."
            )
        assert fused.votes is not None
        assert fused.weights is not None
        head = reading.model.heads[reading.target]
        # A modality whose tokens are all padding casts no vote.
        present = reading.present & (fused.weights > 0)
        with torch.no_grad():
            said = head(fused.votes).masked_fill(~present.unsqueeze(-1), 0).sum(dim=1)
            joined = torch.where(present.any(dim=1, keepdim=True), said, head(fusion.prior))
        return fused.vector, class_logits(joined)
