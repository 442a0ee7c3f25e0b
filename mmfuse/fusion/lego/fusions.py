"""MM-Lego fusions: blocks whose latents merge, or one latent that passes through the blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from mmfuse.errors import ConfigError, UnknownModalityError
from mmfuse.fusion.base import Fused, Fusion
from mmfuse.fusion.lego.block import LegoBlock
from mmfuse.fusion.lego.spectrum import RULES, Rule, Spectrum, latent_spectrum
from mmfuse.tokens import Tokens


class LegoFusion(Fusion):
    """Base of the fusions made of Lego blocks: one block a modality, one norm before the heads.

    With one modality every kind is the same: the block alone, which is how a block is trained.

    Args:
        dims: width of each modality's tokens, in fusion order.
        out_dim: width of the latents and of the fused vector.
        latents: number of latents C, the length of their Fourier transform.
        layers: cross attentions of each block.
        heads: attention heads.
        head_dim: width of a head.
        hidden: width of the hidden layer of the blocks' perceptrons.
        dropout: rate inside the blocks.
    """

    #: Whether every block has latents of its own, in place of one for all.
    has_own_latents = False

    def __init__(
        self,
        dims: Mapping[str, int],
        out_dim: int = 64,
        latents: int = 64,
        layers: int = 2,
        heads: int = 8,
        head_dim: int = 64,
        hidden: int = 256,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(dims, out_dim)
        if latents < 1:
            raise ConfigError(f"{type(self).__name__}: latents is {latents}; expected 1 or more.")
        #: What the weights' shapes follow from besides ``dims``: equal in blocks that can join.
        self.size = {
            "out_dim": out_dim,
            "latents": latents,
            "layers": layers,
            "heads": heads,
            "head_dim": head_dim,
            "hidden": hidden,
        }
        starts = len(dims) if self.has_own_latents else 1
        self.latent = nn.Parameter(torch.randn(starts, latents, out_dim))
        self.blocks = nn.ModuleDict(
            {
                m: LegoBlock(d, out_dim, layers, heads, head_dim, hidden, dropout)
                for m, d in dims.items()
            }
        )
        self.norm = nn.LayerNorm(out_dim)

    def read(self, z: Spectrum) -> Tensor:
        """The vector that the heads read: the mean of the latents' real part, normalised."""
        return self.norm(z.real.mean(dim=1))


class LegoMergeFusion(LegoFusion):
    """Blocks trained alone, their complex latents merged; needs no training together (LegoMerge).

    Every block passes latents of its own. With weights ``a_m``, 0 where absent, the rules are::

        harmonic   |z| = sum a_m / sum (a_m / |z_m|),   phase = angle(sum a_m z_m / |z_m|)
        sum        z = sum a_m z_m
        mean       z = sum a_m z_m / sum a_m
        product    z = prod_{m present} z_m

        vector = LayerNorm(mean over the latents of Re z)

    With one modality every rule gives the block's own latents. ``mmfuse.merging.merge_blocks``
    makes a model with this fusion out of checkpoints of single blocks.

    Args:
        dims: width of each modality's tokens, in fusion order.
        rule: how latents merge.
        weights: a modality's weight a_m, above 0; 1 for all if None. Not for ``product``.
        **size: as ``LegoFusion``.

    Shape:
        tokens[m].values (B, T_m, dims[m]), present (B, M) -> vector (B, D), weights (B, M)

    Raises:
        ConfigError: an unknown rule, a weight that is not above 0, weights for a product.
        UnknownModalityError: weights for other modalities than ``dims`` names.

    Reference:
        Hemker et al., "Multimodal Lego: Model Merging and Fine-Tuning Across Topologies and
        Modalities in Biomedicine", ICLR 2025, arXiv:2405.19950, section 3 (LegoMerge).

    Departs from the authors' code: any number of blocks; phases have a circular mean, where
    the mean of pi and -pi was 0; the harmonic mean of equals is their value, where it was
    half of it at equal weights; an absent modality has the weight 0.
    """

    has_own_latents = True

    def __init__(
        self,
        dims: Mapping[str, int],
        rule: Rule = "harmonic",
        weights: Mapping[str, float] | None = None,
        **size: Any,
    ) -> None:
        super().__init__(dims, **size)
        if rule not in RULES:
            raise ConfigError(f"rule is {rule!r}; expected one of {', '.join(RULES)}.")
        self.rule: Rule = rule
        share = self._checked(weights)
        self.register_buffer("share", torch.tensor(share), persistent=False)
        self.share: Tensor

    def _checked(self, weights: Mapping[str, float] | None) -> list[float]:
        if weights is None:
            return [1.0] * len(self.modalities)
        if self.rule == "product":
            raise ConfigError("A product has no weights. Leave them out, or take another rule.")
        if weights.keys() != self.dims.keys():
            raise UnknownModalityError(
                f"Weights are given for {sorted(weights)}; the fusion knows "
                f"{list(self.modalities)}. Give one for each."
            )
        if min(weights.values()) <= 0:
            raise ConfigError(f"weights are {dict(weights)}; expected numbers above 0.")
        return [float(weights[m]) for m in self.modalities]

    def fuse(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """Runs every block, then merges."""
        starts = latent_spectrum(self.latent)
        passed = [
            self.blocks[m](Spectrum(starts.real[i, None], starts.imag[i, None]), t)
            for i, (m, t) in enumerate(tokens.items())
        ]
        stack = Spectrum(*(torch.stack(parts, dim=1) for parts in zip(*passed, strict=True)))
        weights = torch.where(present, self.share, 0).to(stack.real.dtype)
        merged = RULES[self.rule](stack, weights)
        if self.rule in ("harmonic", "mean"):
            weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-12)
        return Fused(self.read(merged), weights=weights)


class LegoStackFusion(LegoFusion):
    """One latent passes through the blocks in turn, tuned for a few epochs (LegoFuse).

    ::

        z = z_0;   for m in order:  z = block_m(z, x_m) if m is present, else z
        vector = LayerNorm(mean over the latents of Re z)

    Args as ``LegoFusion``.

    Shape:
        tokens[m].values (B, T_m, dims[m]), present (B, M) -> vector (B, D)

    Reference:
        Hemker et al., "Multimodal Lego: Model Merging and Fine-Tuning Across Topologies and
        Modalities in Biomedicine", ICLR 2025, arXiv:2405.19950, section 3 (LegoFuse, stack).

    Departs from the authors' code: the whole complex latent goes from block to block, where a
    real part in the frequency domain was taken for latents in the other; a latent given from
    outside overwrites no parameter; a row skips the blocks of what it lacks.
    """

    def fuse(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """Passes the latent from block to block."""
        z = latent_spectrum(self.latent)
        for i, (m, t) in enumerate(tokens.items()):
            z = _where(present[:, i], self.blocks[m](z, t), z)
        return Fused(self.read(z))


class LegoWeaveFusion(LegoFusion):
    """One latent passes layer by layer across the blocks; tuned for a few epochs (LegoFuse).

    ::

        z = z_0;   for each layer k, for m in order:  z = layer_{m,k}(z, x_m) if m is present
        vector = LayerNorm(mean over the latents of Re z)

    Args as ``LegoFusion``.

    Shape:
        tokens[m].values (B, T_m, dims[m]), present (B, M) -> vector (B, D)

    Reference:
        Hemker et al., "Multimodal Lego: Model Merging and Fine-Tuning Across Topologies and
        Modalities in Biomedicine", ICLR 2025, arXiv:2405.19950, section 3 (LegoFuse, weave).

    Departs from the authors' code: the latent stays in the frequency domain and every layer
    has its own weights, where the first layer's served all and nothing was transformed; a row
    skips the layers of what it lacks.
    """

    def fuse(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """Passes the latent from layer to layer."""
        read = [LegoBlock.context(t) for t in tokens.values()]
        z = latent_spectrum(self.latent)
        layers = [cast(LegoBlock, block).layers for block in self.blocks.values()]
        for turn in zip(*layers, strict=True):
            for i, (layer, (context, closed)) in enumerate(zip(turn, read, strict=True)):
                z = _where(present[:, i], layer(z, context, closed), z)
        return Fused(self.read(z))


def _where(present: Tensor, new: Spectrum, old: Spectrum) -> Spectrum:
    here = present[:, None, None]
    return Spectrum(torch.where(here, new.real, old.real), torch.where(here, new.imag, old.imag))
