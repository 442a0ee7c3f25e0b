"""MissingPromptFusion: a transformer that is told by prompts what is absent."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfuse.errors import ConfigError
from mmfuse.fusion.base import Fused
from mmfuse.fusion.transformer import TransformerFusion
from mmfuse.tokens import Tokens


class MissingPromptFusion(TransformerFusion):
    """``TransformerFusion`` whose first layers also read prompts of the pattern of absence.

    ::

        X_{l+1} = layer_l([X_l ; P_l(present)]), the prompts' own outputs dropped

    Each of the 2^M - 1 patterns has prompts of its own while these are at most ``limit``. For more
    modalities they are composed, ``P_l = P_l,base + sum_{m absent} P_l,m``, so that a pattern which
    training never saw gets prompts from those that it saw.

    The published use has two stages: train with complete rows, then start from that checkpoint
    with ``frozen: true``, frozen encoders and rows that lack something; heads and prompts alone
    learn. docs/absent_training.md has both in one file.

    Args:
        dims: width of each modality's tokens, in fusion order.
        out_dim: width D of the layers and of the fused vector.
        heads: attention heads; must divide ``out_dim``.
        layers: pre-norm transformer layers.
        hidden: width of the layers' perceptrons.
        dropout: rate inside the layers.
        length: prompts that a layer reads.
        prompted: how many layers read prompts, from the first on; more than there are means all.
        limit: the most patterns that have prompts of their own; 16 is up to four modalities.
        frozen: nothing but the prompts and the prior learns.

    Shape:
        tokens[m].values (B, T_m, dims[m]), present (B, M) -> vector (B, D)

    Raises:
        ConfigError: ``length`` or ``prompted`` below 1, or as ``TransformerFusion``.

    Reference: Lee et al., "Multimodal Prompting with Missing Modalities for Visual Recognition",
        CVPR 2023, arXiv:2303.03369.

    Departs from the authors' code: any transformer and modalities in place of ViLT's two; absent
    modalities are masked, not replaced by an empty text or a white picture; prompts are composed
    where patterns are many; no pooler or head of its own.
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        out_dim: int = 128,
        heads: int = 4,
        layers: int = 2,
        hidden: int = 256,
        dropout: float = 0.1,
        length: int = 16,
        prompted: int = 6,
        limit: int = 16,
        frozen: bool = False,
    ) -> None:
        super().__init__(dims, out_dim, heads, layers, hidden, dropout)
        if min(length, prompted) < 1:
            raise ConfigError(
                f"MissingPromptFusion: length is {length}, prompted is {prompted}; expected 1 or "
                "more each."
            )
        self.length, self.frozen = length, frozen
        patterns = 2 ** len(dims) - 1
        self.is_composed = patterns > limit
        sets = 1 + len(dims) if self.is_composed else patterns
        if frozen:
            self.requires_grad_(False)
            self.prior.requires_grad_(True)
        shape = (min(prompted, layers), sets, length, out_dim)
        self.prompts = nn.Parameter(torch.randn(shape) * 0.02)

    def fuse(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """Attends over what is there and the prompts."""
        x, closed = self.sequence(tokens)
        beside = F.pad(closed, (0, self.length), value=False)
        prompts = torch.einsum("bs,lstd->lbtd", self.choice(present).to(x.dtype), self.prompts)
        size = x.shape[1]
        for i, layer in enumerate(self.layers.layers):
            if i < len(self.prompts):
                both = torch.cat([x, prompts[i]], dim=1)
                x = layer(both, src_key_padding_mask=beside)[:, :size]
            else:
                x = layer(x, src_key_padding_mask=closed)
        assert self.layers.norm is not None
        return Fused(self.layers.norm(x[:, 0]))

    def choice(self, present: Tensor) -> Tensor:
        """How much of each set of prompts a row gets, ``(B, sets)``.

        One set of its own for its pattern, counted in binary with the first modality lowest; or
        the base and one for each absent modality.
        """
        if self.is_composed:
            return torch.cat([torch.ones_like(present[:, :1]), ~present], dim=1).long()
        place = 2 ** torch.arange(present.shape[1], device=present.device)
        pattern = (present * place).sum(dim=1)
        return F.one_hot((pattern - 1).clamp(min=0), self.prompts.shape[1])
