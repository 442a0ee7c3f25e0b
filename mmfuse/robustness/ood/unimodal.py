"""UnimodalDisagreement: modalities that contradict each other tell of what is not known."""

from __future__ import annotations

import torch
from torch import Tensor

from mmfuse.errors import ConfigError, DataError
from mmfuse.objectives.disagreement import (
    Distance,
    check_distance,
    disagreement,
    unimodal_logits,
)
from mmfuse.objectives.supervised import UnimodalLoss
from mmfuse.robustness.ood.base import Reading, ReadingScore, class_logits


class UnimodalDisagreement(ReadingScore):
    """Distance between the predictions of the modalities; higher is more out of distribution.

    The mean over the pairs of modalities that a row has. **A row with fewer than two has no
    pair and no score: NaN**, which ``ood_metrics`` leaves out.

    Its logits are those of the heads of each modality, not the fused head's, NaN where a
    modality is absent; features are not looked at.

    Args:
        heads: the objective that trained one head a modality: ``UnimodalLoss``, ``A2D`` or
            ``NPMix`` after training; see ``unimodal_heads`` for those of a checkpoint.
        distance: as in ``mmfuse.objectives.disagreement.distance``.

    Shape:
        features (n, D), logits (n, M, K) -> (n,), in the range of the distance, or NaN

    Raises:
        ConfigError: an unknown distance; in ``inputs``, heads for other modalities or targets.

    Reference: that known classes bring agreement and unknown ones do not is an observation of
        Dong et al., "MultiOOD: Scaling out-of-distribution detection for multiple modalities",
        NeurIPS 2024, arXiv:2405.17419.

    Departs from the paper: there the disagreement is trained for, and rows are scored by the
    fused head; here it is the score.
    """

    def __init__(self, heads: UnimodalLoss, distance: Distance = "l1") -> None:
        check_distance("UnimodalDisagreement", distance)
        self.heads, self.distance = heads, distance

    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        """The mean distance over present pairs."""
        present = ~logits.isnan().any(dim=-1)
        filled = logits.masked_fill(~present.unsqueeze(-1), 0)
        apart, has_pair = disagreement(filled, present, self.distance)
        return apart.masked_fill(~has_pair, torch.nan)

    def inputs(self, reading: Reading) -> tuple[Tensor, Tensor]:
        """The fused vectors, and what each modality's head says."""
        self._require_heads_for(reading)
        self.heads.to(reading.present.device)
        with torch.no_grad():
            said, present = unimodal_logits(
                self.heads, reading.target, reading.model, reading.batch, reading.tokens
            )
        said = class_logits(said).masked_fill(~present.unsqueeze(-1), torch.nan)
        return reading.output.fused.vector, said

    def _require_heads_for(self, reading: Reading) -> None:
        built = dict(getattr(self.heads, "heads", {}))
        if set(built) != set(reading.model.modalities) or any(
            reading.target not in each for each in built.values()
        ):
            raise ConfigError(
                f"UnimodalDisagreement: the heads are for {sorted(built)}; the model reads "
                f"{reading.target!r} from {sorted(reading.model.modalities)}. Give the objective "
                "that was trained beside this model."
            )

    def _checked(self, features: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        if features.dim() != 2 or logits.dim() != 3 or logits.shape[2] < 2:
            raise DataError(
                f"UnimodalDisagreement: features have shape {tuple(features.shape)}, logits "
                f"{tuple(logits.shape)}; expected (n, D), and (n, M, K) of one head a modality."
            )
        self._require_rows(features, logits)
        if logits.isinf().any():
            raise DataError("UnimodalDisagreement: logits hold infinity.")
        return features.detach().double(), logits.detach().double()
