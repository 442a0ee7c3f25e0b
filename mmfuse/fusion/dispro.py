"""DisProFusion: placeholders that a transformer turns into what is absent, and its prototypes."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfuse.errors import ConfigError
from mmfuse.fusion.base import Fused
from mmfuse.fusion.transformer import TransformerFusion
from mmfuse.spec import TargetSpec
from mmfuse.tokens import Tokens
from mmfuse.unit import unit

#: The authors' first temperature of cosines.
_TEMPERATURE = 0.07


class PrototypeHead(nn.Module):
    """A linear readout, and each modality's own prototypes of the target's classes or time bins.

    Args:
        modalities: how many, M.
        width: of a fused vector and of a token, D.
        target: one prototype for each class, label or time bin; none for other targets.
        top: of how many tokens a score is the mean, the highest ones.

    Shape:
        vector (..., D) -> scores (..., target.out_dim)
    """

    def __init__(self, modalities: int, width: int, target: TargetSpec, top: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, target.out_dim)
        self.top, self.is_binary = top, target.kind == "binary"
        count = prototype_count(target)
        self.prototypes: nn.Parameter | None = None
        self.log_scale: nn.Parameter | None = None
        if count:
            self.prototypes = nn.Parameter(torch.randn(modalities, count, width) * 0.02)
            self.log_scale = nn.Parameter(torch.full((modalities,), -math.log(_TEMPERATURE)))

    def forward(self, vector: Tensor) -> Tensor:
        """The scores of the fused vector."""
        found: Tensor = self.linear(vector)
        return found

    def scores(self, place: int, tokens: Tokens, frozen: bool = False) -> Tensor:
        """What tokens of one modality say of the target, by their cosines to its prototypes.

        Args:
            place: which modality, in fusion order.
            tokens: in the width of the fused vector; a row without any says zero.
            frozen: no gradient for prototypes and scale.

        Shape:
            tokens.values (B, T, D) -> (B, target.out_dim)
        """
        assert self.prototypes is not None
        assert self.log_scale is not None
        prototypes, scale = self.prototypes[place], self.log_scale[place].exp()
        if frozen:
            prototypes, scale = prototypes.detach(), scale.detach()
        cosines = unit(tokens.values) @ unit(prototypes).mT
        cosines = cosines.masked_fill(~tokens.mask.unsqueeze(2), -torch.inf)
        best = cosines.topk(min(self.top, cosines.shape[1]), dim=1).values
        found = best > -torch.inf
        mean = best.masked_fill(~found, 0).sum(dim=1) / found.sum(dim=1).clamp(min=1)
        logits = scale * mean
        return logits[:, 1:] - logits[:, :1] if self.is_binary else logits


def prototype_count(target: TargetSpec) -> int:
    """How many prototypes a modality has: classes, labels or time bins; 0 without any."""
    if target.kind == "binary":
        return 2
    has = target.is_classification or (target.kind == "survival" and not target.is_cox)
    return target.out_dim if has else 0


class DisProFusion(TransformerFusion):
    """A transformer in which learned placeholders stand for what is absent (DisPro's model).

    With e_m the modality's embedding and u_m its L placeholders::

        present:  X_m = ( W_m x_m + mean_L u_m ) / 2 + e_m     every token of m
        absent:   X_m = u_m + e_m
        vector  = LayerNorm(layers([cls ; X_1 ; ... ; X_M]))[cls]

    Its heads also hold prototypes of each class, label or time bin for every modality. Two
    objectives train it in two stages: ``PrototypeLoss`` makes the prototypes; then, started from
    that checkpoint, ``PrototypeDistillation`` asks that what the layers make of a placeholder looks
    like its modality and foretells the target. Targets without classes or bins are served, without
    prototypes.

    Args:
        dims: width of each modality's tokens, in fusion order.
        out_dim: width D of the layers and of the fused vector.
        heads: attention heads; must divide ``out_dim``.
        layers: pre-norm transformer layers.
        hidden: width of the layers' perceptrons.
        dropout: rate inside the layers.
        length: placeholders a modality has, L.
        top: of how many tokens a prototype's score is the mean, the highest ones.

    Shape:
        tokens[m].values (B, T_m, dims[m]), present (B, M) -> vector (B, D)

    Raises:
        ConfigError: ``length`` or ``top`` below 1, or as ``TransformerFusion``.

    Reference: Xu et al., "Distilled Prompt Learning for Incomplete Multimodal Survival
        Prediction", CVPR 2025, arXiv:2503.01653.

    Departs from the authors' code: prototypes are free vectors, one a bin, in place of a language
    model's embeddings of prompts, one for observed and one for censored rows of each; placeholders
    do get gradients, which theirs lose on the way to the optimizer; padding is masked, where theirs
    only gets a lower score; all tokens are read, where theirs chooses some by the label in
    training and by other scores in evaluation; absence is told, not guessed from zeros; any
    modalities, targets and batches.
    """

    head_class = PrototypeHead

    def __init__(
        self,
        dims: Mapping[str, int],
        out_dim: int = 128,
        heads: int = 4,
        layers: int = 2,
        hidden: int = 256,
        dropout: float = 0.1,
        length: int = 1,
        top: int = 10,
    ) -> None:
        super().__init__(dims, out_dim, heads, layers, hidden, dropout)
        if min(length, top) < 1:
            raise ConfigError(
                f"DisProFusion: length is {length}, top is {top}; expected 1 or more each."
            )
        self.top = top
        self.placeholders = nn.Parameter(torch.randn(len(dims), length, out_dim) * 0.02)

    def head(self, target: TargetSpec) -> nn.Module:
        """A linear readout beside prototypes."""
        return PrototypeHead(len(self.dims), self.out_dim, target, self.top)

    def fuse(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """Attends over tokens and placeholders."""
        return Fused(self._states(tokens, present)[:, 0])

    def imagine(self, tokens: Mapping[str, Tokens], present: Tensor) -> Tensor:
        """What the layers make of each absent modality's placeholders.

        Of a present modality's, which nothing reads, it says nothing of use.

        Shape:
            tokens[m].values (B, T_m, dims[m]), blank where absent; present (B, M)
            -> (B, M, L, D)
        """
        count, length, _ = self.placeholders.shape
        found = self._states(tokens, present)[:, -count * length :]
        return found.unflatten(1, (count, length))

    def _states(self, tokens: Mapping[str, Tokens], present: Tensor) -> Tensor:
        """The layers' output: cls, all tokens, all placeholders."""
        e = self.embedding.unsqueeze(1)
        parts = [self.cls.expand(present.shape[0], 1, -1)]
        for i, (m, t) in enumerate(tokens.items()):
            parts.append((self.project[m](t.values) + self.placeholders[i].mean(dim=0)) / 2 + e[i])
        parts.append((self.placeholders + e).flatten(0, 1).expand(present.shape[0], -1, -1))
        closed = [~t.mask for t in tokens.values()]
        closed.append(present.repeat_interleave(self.placeholders.shape[1], dim=1))
        mask = F.pad(torch.cat(closed, dim=1), (1, 0), value=False)
        states: Tensor = self.layers(torch.cat(parts, dim=1), src_key_padding_mask=mask)
        return states
