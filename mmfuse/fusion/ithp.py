"""ITHP: one modality leads, and is compressed to what tells of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmfuse.errors import ConfigError
from mmfuse.fusion.base import Fused, Fusion
from mmfuse.fusion.information_chain import InformationChain, Passage, RunningScale
from mmfuse.tokens import Tokens


class _ITHP(Fusion):
    """What both forms share: the order, the chain, the scaled targets and the losses."""

    def __init__(
        self,
        dims: Mapping[str, int],
        out_dim: int,
        order: Sequence[str] | None,
        widths: tuple[int, int],
        hidden: int,
        dropout: float,
        betas: Sequence[float] | None,
        lambdas: Sequence[float] | None,
        weight: float,
        momentum: float,
    ) -> None:
        super().__init__(dims, out_dim)
        self.order = _order(dims, order, type(self).__name__)
        self.prime, self.detectors = self.order[0], self.order[1:]
        levels = max(1, len(self.detectors))
        self.betas = _levels("betas", betas, [8.0] + [32.0] * (levels - 1))
        self.lambdas = _levels("lambdas", lambdas, [1.0] + [0.3] * (levels - 1))
        if not sum(self.betas) > 0 or not weight >= 0:
            raise ConfigError(
                f"{type(self).__name__}: betas={self.betas}, weight={weight}; expected one beta "
                "above 0 or more, and a weight of 0 or more."
            )
        self.scale_of_losses = 2 * weight / sum(self.betas)
        bottlenecks = [widths[0]] * (levels - 1) + [widths[1]]
        in_order = {m: dims[m] for m in self.order}
        self.chain = InformationChain(in_order, bottlenecks, hidden, dropout)
        self.standardise = nn.ModuleDict(
            {m: RunningScale(dims[m], momentum) for m in self.detectors}
        )

    def _leads(self, present: Tensor) -> dict[str, Tensor]:
        """For each modality the rows ``(B,)`` of which it is the prime: the first one there."""
        columns = dict(zip(self.modalities, present.unbind(dim=1), strict=True))
        leads, free = {}, torch.ones_like(present[:, 0])
        for m in self.order:
            leads[m] = columns[m] & free
            free = free & ~columns[m]
        return leads

    def _target(self, modality: str, tokens: Tokens) -> Tokens:
        """A detector's tokens as the chain is to foretell them."""
        values = self.standardise[modality](tokens.values, tokens.mask)
        # A target that could learn would learn to be a constant, which is easily foretold.
        return Tokens(values.detach() if self.training else values, tokens.mask)

    def _losses(self, passages: Sequence[Passage]) -> dict[str, Tensor]:
        losses = {}
        for level, (weight, beta) in enumerate(zip(self.lambdas, self.betas, strict=True)):
            weight = weight * self.scale_of_losses
            kl = passages[0].kl[level]
            for other in passages[1:]:
                kl = kl + other.kl[level]
            losses[f"kl_{level}"] = weight * kl.mean()
            if level < len(self.detectors):
                m = self.detectors[level]
                error = passages[0].error[m]
                for other in passages[1:]:
                    error = error + other.error[m]
                losses[f"detect_{m}"] = weight * beta * error.mean()
        return losses


class ITHPFusion(_ITHP):
    """A prime modality passes bottlenecks, each of which foretells one more modality.

    With the modalities in order, X_0 the prime and the others its detectors::

        q(B_0 | X_0) = N(mu, sigma^2),  (mu, log sigma^2) = MLP(X_0);   B_l likewise from B_{l-1}
        vector = B_last
        losses = 2 / sum(beta) * sum_l lambda_l (KL_l + beta_l MSE(MLP(B_l), X_{l+1}))

    Both KL (to the standard normal) and MSE are means over the width and over the rows; a
    bottleneck is drawn at random in training and is its mean in evaluation.

    The vector is a function of the prime alone: **absent detectors change nothing** at
    inference, and in training they drop out of their own MSE. Where the prime is absent, the
    first modality present in the order leads, and enters the chain at its own level. That
    entrance learns from rows that lack the modalities before; without any such row
    (``modality_dropout`` makes some) it says nothing, and the heads answer as if from the
    middle of what they know.

    The detectors' tokens are what the chain foretells, so their encoders learn nothing here:
    give them ``IdentityEncoder`` for features that come ready made, or an objective of their
    own, such as ``UnimodalLoss``.

    Args:
        dims: width of each modality's tokens.
        out_dim: width D of the last bottleneck.
        order: the prime, then the detectors; the order of ``dims`` by default.
        bottleneck: width of the bottlenecks before the last.
        hidden: width of the perceptrons' hidden layers.
        dropout: rate after each hidden layer.
        betas: weight of each detector's MSE; 8, then 32 for each further one, by default.
        lambdas: weight of each level; 1, then 0.3 for each further one, by default.
        weight: factor of all the losses; 0 leaves the chain to the other objectives.
        momentum: how fast the detectors' running mean and deviation follow.

    Shape:
        tokens[m].values (B, T_m, dims[m]), present (B, M) -> vector (B, D)

    Raises:
        ConfigError: an order that is not a permutation of the modalities, weights that are not
            one for each detector, negative, or all zero, or a
            momentum outside (0, 1].

    Reference:
        Xiao et al., "Neuro-Inspired Information-Theoretic Hierarchical Perception for
        Multimodal Learning", ICLR 2024, arXiv:2404.09403.

    Departs from the authors' code: any number of detectors; targets are standardised by the
    training rows and the readout is linear, in place of a sigmoid, and dropout after it, for
    targets scaled by each batch; no sampling in evaluation; padding counts nowhere; rows
    without the prime are served.
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        out_dim: int = 64,
        order: Sequence[str] | None = None,
        bottleneck: int = 128,
        hidden: int = 256,
        dropout: float = 0.3,
        betas: Sequence[float] | None = None,
        lambdas: Sequence[float] | None = None,
        weight: float = 1.0,
        momentum: float = 0.1,
    ) -> None:
        widths = (bottleneck, out_dim)
        super().__init__(
            dims, out_dim, order, widths, hidden, dropout, betas, lambdas, weight, momentum
        )

    def fuse(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """One run of the chain over the modalities' mean tokens."""
        means = _means(tokens)
        leads = {m: rows.unsqueeze(1) for m, rows in self._leads(present).items()}
        targets = {m: self._target(m, means[m]) for m in self.detectors}
        passage = self.chain({m: means[m].values for m in self.order}, leads, targets)
        return Fused(passage.state.squeeze(1), losses=self._losses([passage]))


class ITHPResidualFusion(_ITHP):
    """The prime's tokens, each with what its bottlenecks tell of the other modalities added.

    The form of the authors' sentiment model: every token of the prime passes the chain of
    ``ITHPFusion``, and the last bottleneck comes back as a correction::

        vector = mean over tokens of Dropout(LayerNorm(scale * W B_last + X_0))

    KL and MSE are means over the width and over the real tokens of all rows. Where the prime
    is absent, the first modality present leads with its mean token, mapped to the prime's
    width, and takes X_0's place; what ``ITHPFusion`` says of such rows, and of the detectors'
    encoders, holds here too.

    Args:
        dims: width of each modality's tokens; that of the prime is the vector's.
        order: the prime, then the detectors; the order of ``dims`` by default.
        is_aligned: token t of the prime foretells token t of each detector, as with features
            of words; where one of the two is longer, its rest foretells nothing. Otherwise
            every token foretells the detector's mean token.
        bottleneck: width of the bottlenecks before the last.
        code_dim: width of the last bottleneck.
        hidden: width of the perceptrons' hidden layers.
        dropout: rate after each hidden layer.
        scale: factor of the correction.
        out_dropout: rate after the LayerNorm.
        betas: weight of each detector's MSE; 8, then 32 for each further one, by default.
        lambdas: weight of each level; 1, then 0.3 for each further one, by default.
        weight: factor of all the losses; 0 leaves the chain to the other objectives.
        momentum: how fast the detectors' running mean and deviation follow.

    Shape:
        tokens[m].values (B, T_m, dims[m]), present (B, M) -> vector (B, dims[prime])

    Raises:
        ConfigError: as ``ITHPFusion``.

    Reference:
        Xiao et al., "Neuro-Inspired Information-Theoretic Hierarchical Perception for
        Multimodal Learning", ICLR 2024, arXiv:2404.09403.

    Departs from the authors' code: as ``ITHPFusion``; and the mean over tokens in place of
    the first one, which is the text encoder's affair.
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        order: Sequence[str] | None = None,
        is_aligned: bool = False,
        bottleneck: int = 128,
        code_dim: int = 64,
        hidden: int = 256,
        dropout: float = 0.3,
        scale: float = 1.0,
        out_dropout: float = 0.5,
        betas: Sequence[float] | None = None,
        lambdas: Sequence[float] | None = None,
        weight: float = 1.0,
        momentum: float = 0.1,
    ) -> None:
        prime = _order(dims, order, type(self).__name__)[0]
        widths = (bottleneck, code_dim)
        super().__init__(
            dims, dims[prime], order, widths, hidden, dropout, betas, lambdas, weight, momentum
        )
        self.is_aligned, self.scale = is_aligned, scale
        self.expand = nn.Linear(code_dim, self.out_dim)
        self.lift = nn.ModuleDict({m: nn.Linear(dims[m], self.out_dim) for m in self.detectors})
        self.norm = nn.LayerNorm(self.out_dim)
        self.dropout = nn.Dropout(out_dropout)

    def fuse(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """The prime's tokens pass the chain; rows without it are run again, from another."""
        prime, means = tokens[self.prime], _means(tokens)
        aims = tokens if self.is_aligned else means
        targets = {m: self._target(m, aims[m]) for m in self.detectors}
        beside = {m: self._beside(prime, target) for m, target in targets.items()}
        passages = [self.chain({self.prime: prime.values}, {self.prime: prime.mask}, beside)]
        vector = self._read(passages[0].state, prime)
        if self.detectors:
            leads = self._leads(present)
            others = {m: leads[m].unsqueeze(1) for m in self.detectors}
            nobody = torch.zeros_like(others[self.detectors[0]])  # the prime leads in no such row
            values = {m: means[m].values for m in self.order}
            passages.append(self.chain(values, {self.prime: nobody, **others}, _means(targets)))
            stand_in = torch.zeros_like(values[self.prime])
            for m, here in others.items():
                stand_in = torch.where(here.unsqueeze(2), self.lift[m](values[m]), stand_in)
            alone = Tokens(stand_in, torch.stack(list(others.values())).any(dim=0))
            led = self._read(passages[1].state, alone)
            vector = torch.where(leads[self.prime].unsqueeze(1), vector, led)
        return Fused(vector, losses=self._losses(passages))

    def _read(self, state: Tensor, leader: Tokens) -> Tensor:
        corrected = self.dropout(self.norm(self.scale * self.expand(state) + leader.values))
        return Tokens(corrected, leader.mask).pooled()

    def _beside(self, prime: Tokens, target: Tokens) -> Tokens:
        """What each token of the prime is to foretell, and whether there is such a thing."""
        steps = prime.values.shape[1]
        if not self.is_aligned:
            return Tokens(target.values.expand(-1, steps, -1), target.mask.expand(-1, steps))
        missing = max(0, steps - target.values.shape[1])
        values = F.pad(target.values[:, :steps], (0, 0, 0, missing))
        return Tokens(values, F.pad(target.mask[:, :steps], (0, missing)))


def _means(tokens: Mapping[str, Tokens]) -> dict[str, Tokens]:
    """Each modality's mean token."""
    return {
        m: Tokens(t.pooled().unsqueeze(1), t.mask.any(dim=1, keepdim=True))
        for m, t in tokens.items()
    }


def _order(dims: Mapping[str, int], order: Sequence[str] | None, fusion: str) -> list[str]:
    if not dims:
        raise ConfigError(f"{fusion} needs at least one modality; found none.")
    if order is not None and sorted(order) != sorted(dims):
        raise ConfigError(
            f"{fusion}: the order {list(order)} must name each of {list(dims)} once, the prime "
            "modality first."
        )
    return list(dims if order is None else order)


def _levels(name: str, given: Sequence[float] | None, default: list[float]) -> list[float]:
    if given is None:
        return default
    if len(given) != len(default) or not all(value >= 0 for value in given):
        raise ConfigError(
            f"{name} is {list(given)}; expected {len(default)} numbers of 0 or more, one for each "
            "detector in order."
        )
    return list(given)
