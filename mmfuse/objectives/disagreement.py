"""Disagreement: how far apart the predictions of the modalities of a row are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError
from mmfuse.objectives.pairwise import mean_token
from mmfuse.tokens import Tokens

if TYPE_CHECKING:
    from mmfuse.model import FusionModel
    from mmfuse.objectives.supervised import UnimodalLoss

Distance = Literal["hellinger", "l1", "l2", "wasserstein"]


def check_distance(who: str, name: str) -> None:
    """Checks that there is such a distance.

    Raises:
        ConfigError: naming those that there are.
    """
    if name not in get_args(Distance):
        raise ConfigError(
            f"{who}: distance is {name!r}; expected one of {', '.join(get_args(Distance))}."
        )


def distance(x: Tensor, y: Tensor, name: Distance) -> Tensor:
    """Distance between the distributions softmax(x) = p and softmax(y) = q.

    ==============  ===============================================  ============
    name            value                                            range
    ==============  ===============================================  ============
    ``hellinger``   |sqrt p - sqrt q|_2 / sqrt 2                     0 to 1
    ``l1``          sum_k |p_k - q_k|                                0 to 2
    ``l2``          |p - q|_2                                        0 to sqrt 2
    ``wasserstein`` sum_k |P_k - Q_k| of cumulative sums             0 to K - 1
    ==============  ===============================================  ============

    The last is the work of moving p to q where classes k and k + 1 are one apart: it depends on
    the order of the classes, and means something where they have one.

    Shape:
        x, y (..., K) -> (...), in float32 at least

    Example:
        >>> far = torch.tensor([100.0, 0.0]), torch.tensor([0.0, 100.0])
        >>> distance(*far, "hellinger"), distance(*far, "l1")
        (tensor(1.), tensor(2.))
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    p, q = x.to(wide).log_softmax(dim=-1), y.to(wide).log_softmax(dim=-1)
    if name == "hellinger":
        # exp(log p / 2) and not sqrt p, whose gradient at 0 is infinite.
        return torch.linalg.vector_norm((p / 2).exp() - (q / 2).exp(), dim=-1) / 2**0.5
    gap = p.exp() - q.exp()
    if name == "wasserstein":
        gap = gap.cumsum(dim=-1)[..., :-1]
    return torch.linalg.vector_norm(gap, ord=2 if name == "l2" else 1, dim=-1)


def disagreement(logits: Tensor, present: Tensor, name: Distance) -> tuple[Tensor, Tensor]:
    """Mean distance over the pairs of modalities that a row has, and the rows that have a pair.

    What stands in an absent modality's logits must be finite and has no effect.

    Shape:
        logits (B, M, K), present (B, M) bool -> (B,), zero without a pair; (B,) bool
    """
    count = logits.shape[1]
    first, second = torch.triu_indices(count, count, offset=1, device=logits.device)
    both = present[:, first] & present[:, second]
    apart = distance(logits[:, first], logits[:, second], name).masked_fill(~both, 0)
    return apart.sum(dim=1) / both.sum(dim=1).clamp(min=1), both.any(dim=1)


def unimodal_logits(
    heads: UnimodalLoss,
    target: str,
    model: FusionModel,
    batch: Batch,
    tokens: Mapping[str, Tokens],
) -> tuple[Tensor, Tensor]:
    """What the head of each modality says of a target, and the modalities that rows have.

    Shape:
        -> (B, M, K) in fusion order, (B, M) bool
    """
    found = {m: mean_token(m, model, batch, tokens) for m in model.modalities}
    said = [heads.head(m, target)(vector) for m, (vector, _) in found.items()]
    return torch.stack(said, dim=1), torch.stack([p for _, p in found.values()], dim=1)
