"""Late fusion: each modality is judged alone, and the judgements are joined."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mmfuse.errors import ConfigError
from mmfuse.fusion.base import LateFusion, mean_of_present
from mmfuse.spec import TargetSpec


class LateMeanFusion(LateFusion):
    """Late fusion by the mean of the present modalities' scores.

    ::

        logits = 1/|P| sum_{m in P} f(v_m),   P the modalities present, f the head

    Args:
        dims: width of each modality's tokens, in fusion order.
        out_dim: width D of a vote.
        hidden: width of each modality's hidden layer; 0 makes it one linear map.
        dropout: rate after the hidden layer.

    Shape:
        tokens[m].values (B, T_m, dims[m]), present (B, M) -> vector (B, D), votes (B, M, D)

    Reference:
        Kittler et al., "On Combining Classifiers", TPAMI 20(3), 1998.

    Departs from the paper's sum rule: scores before the softmax are averaged, not
    probabilities.
    """

    def combine(self, logits: Tensor, present: Tensor, target: TargetSpec) -> Tensor:
        """Mean over the present."""
        return mean_of_present(logits, present)


class LateProductFusion(LateFusion):
    """Late fusion by a product of experts: the present modalities' probabilities multiplied.

    ::

        p(y) ~ prod_{m present} p_m(y)

    for classes as log-probabilities, for one or several 0/1 labels as the sum of log-odds.
    For regression the experts are Gaussians of one variance, whose product has its peak at
    their mean. For survival the odds of the event in each time bin are multiplied, or under
    Cox's model the hazard ratios.

    Args:
        dims: width of each modality's tokens, in fusion order.
        out_dim: width D of a vote.
        hidden: width of each modality's hidden layer; 0 makes it one linear map.
        dropout: rate after the hidden layer.

    Shape:
        tokens[m].values (B, T_m, dims[m]), present (B, M) -> vector (B, D), votes (B, M, D)

    Reference:
        Hinton, "Training Products of Experts by Minimizing Contrastive Divergence", Neural
        Computation 14(8), 2002.
    """

    def combine(self, logits: Tensor, present: Tensor, target: TargetSpec) -> Tensor:
        """Product over the present, renormalised."""
        if target.kind == "regression":
            return mean_of_present(logits, present)
        total = logits.masked_fill(~present.unsqueeze(-1), 0).sum(dim=1)
        # Each expert's own normaliser is a constant of the row, so that one softmax at the
        # end equals the renormalised sum of log-probabilities.
        return total.log_softmax(dim=-1) if target.kind == "multiclass" else total


class LateConfidenceFusion(LateFusion):
    """Late fusion by mixing probabilities, the surer modalities counting more.

    ::

        p   = sum_{m present} w_m p_m,   w_m = c_m / sum_{m present} c_m
        c_m = 1 - entropy(p_m) / log K

    Returned as log-probabilities, for 0/1 labels as log-odds, label by label (K = 2), and so
    for the hazards of survival, bin by bin.

    Args:
        dims: width of each modality's tokens, in fusion order.
        out_dim: width D of a vote.
        hidden: width of each modality's hidden layer; 0 makes it one linear map.
        dropout: rate after the hidden layer.

    Shape:
        tokens[m].values (B, T_m, dims[m]), present (B, M) -> vector (B, D), votes (B, M, D)

    Raises:
        ConfigError: a regression target, or a survival target under Cox's model, which has no
            entropy.

    Reference:
        Misra et al., "New Entropy Based Combination Rules in HMM/ANN Multi-Stream ASR",
        ICASSP 2003.

    Departs from the paper: weights fall linearly with the entropy, and reach zero at the
    uniform distribution, where the paper takes its inverse.
    """

    def combine(self, logits: Tensor, present: Tensor, target: TargetSpec) -> Tensor:
        """Mixture over the present."""
        if target.kind == "regression" or target.is_cox:
            raise ConfigError(
                "LateConfidenceFusion weighs by the entropy of classes, and a "
                f"{'survival target under Cox' if target.is_cox else 'regression target'} has "
                "none. Use LateMeanFusion."
            )
        if target.kind == "multiclass":
            return _mix(logits.log_softmax(dim=-1), present)
        log_odds = logits.unsqueeze(-1)
        per_label = F.logsigmoid(torch.cat([-log_odds, log_odds], dim=-1))
        no, yes = _mix(per_label, present).unbind(dim=-1)
        return yes - no


def _mix(log_p: Tensor, present: Tensor) -> Tensor:
    """Confidence-weighted mixture: log-probabilities ``(B, M, ..., K) -> (B, ..., K)``."""
    entropy = -(log_p.exp() * log_p).sum(dim=-1, keepdim=True)
    # The floor shares the weight equally when no modality knows anything.
    confidence = (1 - entropy / math.log(max(log_p.shape[-1], 2))).clamp(min=1e-6)
    here = present | ~present.any(dim=1, keepdim=True)  # a softmax over nobody would be NaN
    here = here.view(*here.shape, *([1] * (log_p.dim() - 2)))
    log_weight = confidence.log().masked_fill(~here, -torch.inf).log_softmax(dim=1)
    return (log_weight + log_p).logsumexp(dim=1)
