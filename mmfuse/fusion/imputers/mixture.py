"""MixtureImputer: a mixture of prior vectors, weighed by what is present (SMIL)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfuse.errors import ConfigError
from mmfuse.fusion.imputers.base import FittedImputer
from mmfuse.fusion.imputers.clusters import k_means


class MixtureImputer(FittedImputer):
    """A convex mixture of each modality's prior vectors (SMIL, portable).

    The priors c_m1 .. c_mK are the k-means centres of the modality's own training vectors. What is
    present, standardised and with the flags of who it is, says how much each counts::

        a_mk = softplus( (W [z ; present] + b)_mk + noise * e_mk ),   e standard normal in training
        z_m  = sum_k a_mk c_mk / sum_k a_mk

    The weights learn from ``ImputationLoss`` (the authors weigh it 0.01) and from the supervised
    loss of rows that lack something.

    Args:
        count: how many priors a modality has, K.
        noise: deviation of what is added inside the softplus in training; 0 for none.
        seed: of the start of k-means.

    Raises:
        ConfigError: no prior, or noise below 0.

    Reference: Ma et al., "SMIL: Multimodal Learning with Severely Missing Modality", AAAI 2021,
        arXiv:2103.05677.

    Departs from the authors' code: any number of modalities in place of one that reads another;
    both kinds of rows share one loss, in place of an inner step on incomplete rows and an outer
    one on complete rows; the learned noise on two layers of the network, whose deviations were
    computed and not used, is noise on the weights alone; priors are of standardised encodings and
    follow the encoders.
    """

    kept = ("priors",)

    priors: Tensor

    def __init__(self, count: int = 10, noise: float = 1.0, seed: int = 0) -> None:
        super().__init__()
        if count < 1 or not noise >= 0:
            raise ConfigError(
                f"MixtureImputer: count is {count}, noise is {noise}; expected 1 prior or more, "
                "and noise of 0 or more."
            )
        self.count, self.noise, self.seed = count, noise, seed

    def build(self, dims: Mapping[str, int]) -> None:
        """Makes the map from what is present to the weights."""
        super().build(dims)
        width = sum(dims.values()) + len(dims)
        self.weigh = nn.Linear(width, len(dims) * self.count)

    def remember(self, z: Tensor, present: Tensor) -> dict[str, Tensor]:
        """The priors, ``(K, D)``; a modality with fewer distinct ones has some twice."""
        parts = []
        for i, part in enumerate(self.split(z).values()):
            here = present[:, i]
            if not here.any():
                parts.append(part.new_zeros(self.count, part.shape[1]))
                continue
            one = torch.zeros(part.shape[1], dtype=torch.long, device=z.device)
            centres = k_means(part, here.unsqueeze(1), one, self.count, self.seed)
            turn = torch.arange(self.count, device=z.device) % len(centres)
            parts.append(centres[turn])
        return {"priors": torch.cat(parts, dim=1)}

    def expected(self, z: Tensor, present: Tensor) -> Tensor:
        """Weighs and mixes."""
        kind = self.weigh.weight.dtype
        scores = self.weigh(torch.cat([z, present.to(z.dtype)], dim=1).to(kind)).to(z.dtype)
        if self.training and self.noise:
            scores = scores + self.noise * torch.randn_like(scores)
        amount = F.softplus(scores).unflatten(1, (len(self.dims), self.count))
        # Where all softplus underflow the priors count alike.
        amount = amount + torch.finfo(amount.dtype).tiny
        weights = amount / amount.sum(dim=2, keepdim=True)
        parts = self.split(self.priors.to(z.dtype)).values()
        return torch.cat([weights[:, i] @ part for i, part in enumerate(parts)], dim=1)
