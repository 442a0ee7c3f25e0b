"""ShaSpecFusion: what modalities share stands in for the absent, beside what is specific."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from mmfuse.errors import ConfigError
from mmfuse.fusion.base import Fused, PooledFusion, mean_of_present, perceptron


class ShaSpecFusion(PooledFusion):
    """Shared features from one network for all modalities, specific ones from one each (ShaSpec).

    With z_m the mean token of modality m, mapped to width D::

        s_m    = Shared(z_m),  p_m = Specific_m(z_m)
        f_m    = s_m + C [s_m ; p_m]          if m is present
                 mean_{k present} s_k         if it is absent
        vector = W [f_1 ; ... ; f_M]

    Two losses keep the parts to their names. Over the pairs of modalities that a row has, its
    shared features are to agree; and from each specific feature a linear map D is to tell whose
    it is::

        alignment      = alignment_weight      mean_{rows, pairs present}  mean_D | s_i - s_j |
        classification = classification_weight mean_{rows, m present}  CE( D p_m, m )

    Give the task ``modality_dropout`` where training rows are complete.

    Args:
        dims: width of each modality's tokens, in fusion order.
        out_dim: width D of all features and of the fused vector.
        hidden: width of the hidden layer of Shared and Specific; 0 makes them linear maps.
        alignment: ``l1``, the mean difference, or ``mse``, the mean squared one.
        alignment_weight: factor of the alignment; 0.1 in the authors' code.
        classification_weight: factor of the classification; 0.02 in the authors' code. 0 builds
            no map D.

    Shape:
        tokens[m].values (B, T_m, dims[m]), present (B, M) -> vector (B, D)

    Raises:
        ConfigError: an unknown alignment, or a factor below 0.

    Reference: Wang et al., "Multi-modal Learning with Missing Modality via Shared-Specific Feature
        Modelling", CVPR 2023, arXiv:2307.14126.

    Departs from the authors' code: it works on the encoders' tokens, with a map to one width for
    each modality, where theirs has two U-Nets over images; what is absent takes part in neither
    loss, where theirs counts zeroed inputs; all pairs are aligned, not neighbours in a circle; the
    mean of the shared features stands in for the absent, not the first one's.
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        out_dim: int = 128,
        hidden: int = 128,
        alignment: Literal["l1", "mse"] = "l1",
        alignment_weight: float = 0.1,
        classification_weight: float = 0.02,
    ) -> None:
        super().__init__(dims, out_dim)
        if alignment not in ("l1", "mse"):
            raise ConfigError(f"alignment is {alignment!r}; expected 'l1' or 'mse'.")
        if not (alignment_weight >= 0 and classification_weight >= 0):
            raise ConfigError(
                f"ShaSpecFusion: alignment_weight is {alignment_weight}, classification_weight is "
                f"{classification_weight}; expected factors of 0 or more."
            )
        self.alignment = alignment
        self.alignment_weight = alignment_weight
        self.classification_weight = classification_weight
        self.shared = perceptron(out_dim, hidden, out_dim)
        self.specific = nn.ModuleDict({m: perceptron(out_dim, hidden, out_dim) for m in dims})
        self.compose = nn.Linear(2 * out_dim, out_dim)
        self.mix = nn.Linear(len(dims) * out_dim, out_dim)
        if classification_weight:
            self.tell = nn.Linear(out_dim, len(dims))

    def reduce(self, stack: Tensor, present: Tensor) -> Fused:
        """Shared and specific features, composed; the shared mean where absent."""
        shared = self.shared(stack)
        parts = zip(self.specific.values(), stack.unbind(dim=1), strict=True)
        specific = torch.stack([part(x) for part, x in parts], dim=1)
        composed = shared + self.compose(torch.cat([shared, specific], dim=2))
        stand_in = mean_of_present(shared, present).unsqueeze(1)
        whole = torch.where(present.unsqueeze(2), composed, stand_in)
        losses = {"alignment": self.alignment_weight * self._disagreement(shared, present)}
        if self.classification_weight:
            losses["classification"] = self.classification_weight * self._told(specific, present)
        return Fused(self.mix(whole.flatten(1)), losses=losses)

    def _disagreement(self, shared: Tensor, present: Tensor) -> Tensor:
        first, second = torch.triu_indices(
            present.shape[1], present.shape[1], offset=1, device=present.device
        )
        gap = shared[:, first] - shared[:, second]
        gap = (gap.abs() if self.alignment == "l1" else gap.square()).mean(dim=2)
        return _mean_where(gap, present[:, first] & present[:, second])

    def _told(self, specific: Tensor, present: Tensor) -> Tensor:
        scores = self.tell(specific).log_softmax(dim=2)
        return _mean_where(-scores.diagonal(dim1=1, dim2=2), present)


def _mean_where(values: Tensor, counted: Tensor) -> Tensor:
    """Mean of what is counted; zero where nothing is."""
    return values.masked_fill(~counted, 0).sum() / counted.sum().clamp(min=1)
