"""The fusion contract: tokens of several modalities, some absent -> one vector."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mmfuse.errors import ConfigError, UnknownModalityError
from mmfuse.recorded import Recorded
from mmfuse.spec import TargetSpec
from mmfuse.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Fused:
    """What a fusion module hands to the heads.

    Args:
        vector: the joint representation, ``(B, D)``.
        steps: for sequential methods the state after every step, ``(B, S, D)``, the initial
            state first.
        step_present: ``(B, S)`` bool, True where the step happened for the row.
        step_modality: ``(B, S)`` or ``(S,)`` long, the position in ``Fusion.modalities``
            that each step read; -1 for the initial state.
        votes: for late fusion each modality's own vector, ``(B, M, D)``; the heads read
            each, and ``LateFusion.combine`` joins what they say.
        weights: how much each modality counted, ``(B, M)``, zero where absent.
        losses: named auxiliary losses (scalars) that the method itself defines.
    """

    vector: Tensor
    steps: Tensor | None = None
    step_present: Tensor | None = None
    step_modality: Tensor | None = None
    votes: Tensor | None = None
    weights: Tensor | None = None
    losses: Mapping[str, Tensor] = field(default_factory=dict)


class Fusion(nn.Module, Recorded, ABC):
    """Base of all fusion modules: it holds what is true of absence, once.

    Before a subclass sees anything, absent slots are blanked (zero values, no real token),
    so that nothing in them can reach an output or a gradient. After it, a row with nothing
    present gets the learned ``prior``. A subclass writes ``fuse``, the mathematics between.

    Args:
        dims: width of each modality's tokens, in fusion order.
        out_dim: width D of the fused vector.

    Shape:
        tokens[m].values (B, T_m, dims[m]), present (B, M) -> Fused with vector (B, D)

    Raises:
        ConfigError: no modality, or a width below 1.
        UnknownModalityError: ``tokens`` holds a modality that ``dims`` does not name.
    """

    #: Whether the result depends on the order of ``dims`` beyond the choice of weights.
    is_sequential = False
    #: Whether heads read each modality's own vote before anything is joined.
    is_late = False
    #: What ``head`` makes.
    head_class: ClassVar[type[nn.Module]] = nn.Linear

    def __init__(self, dims: Mapping[str, int], out_dim: int) -> None:
        super().__init__()
        if not dims or min(*dims.values(), out_dim) < 1:
            raise ConfigError(
                f"{type(self).__name__} needs at least one modality and widths of 1 or more; "
                f"found dims={dict(dims)}, out_dim={out_dim}."
            )
        self.dims = dict(dims)
        self.modalities = tuple(dims)
        self.out_dim = out_dim
        self.prior = nn.Parameter(torch.zeros(out_dim))

    def forward(self, tokens: Mapping[str, Tokens], present: Tensor, **options: Any) -> Fused:
        """Fuses a batch.

        Args:
            tokens: each modality's tokens. One that no row has may be left out.
            present: ``(B, M)`` bool in the order of ``self.modalities``.
            options: what the method's own ``fuse`` takes besides, such as ``order``.
        """
        blanked, present = self.blanked(tokens, present)
        fused = self.fuse(blanked, present, **options)
        anyone = present.any(dim=1, keepdim=True)
        return replace(fused, vector=torch.where(anyone, fused.vector, self.prior))

    def blanked(
        self, tokens: Mapping[str, Tokens], present: Tensor
    ) -> tuple[dict[str, Tokens], Tensor]:
        """What ``fuse`` is given: every modality's tokens, blank where absent, and who is there.

        Args as ``forward``. A modality that has no real token in a row is not there.
        """
        if not tokens.keys() <= self.dims.keys():
            raise UnknownModalityError(
                f"{type(self).__name__} was given {sorted(tokens.keys() - self.dims.keys())}; "
                f"it was built for {list(self.modalities)}."
            )
        blanked = {
            m: tokens[m].keep(present[:, i]) if m in tokens else self._nothing(m, present)
            for i, m in enumerate(self.modalities)
        }
        here = torch.stack([t.mask.any(dim=1) for t in blanked.values()], dim=1)
        return blanked, present & here

    def head(self, target: TargetSpec) -> nn.Module:
        """A fresh head for a target, from what the fusion gives to ``target.out_dim`` scores."""
        return nn.Linear(self.out_dim, target.out_dim)

    @abstractmethod
    def fuse(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """The method itself. Every modality is in ``tokens``, absent slots are blank.

        What it returns for a row with nothing present does not matter, as long as its
        gradient is finite.
        """

    def _nothing(self, modality: str, present: Tensor) -> Tokens:
        size = present.shape[0]  # not len(), which fixes the batch size in an exported graph
        values = self.prior.new_zeros(size, 1, self.dims[modality])
        return Tokens(values, present.new_zeros(size, 1))


def pooled(tokens: Mapping[str, Tokens]) -> dict[str, Tensor]:
    """Each modality's mean token, ``(B, dims[m])``, zero where absent."""
    return {m: t.pooled() for m, t in tokens.items()}


def mean_of_present(stack: Tensor, present: Tensor) -> Tensor:
    """Mean over the modalities that a row has; zero where it has none.

    Shape:
        stack (B, M, ...), present (B, M) -> (B, ...)
    """
    here = present.view(*present.shape, *([1] * (stack.dim() - 2)))
    return stack.masked_fill(~here, 0).sum(dim=1) / here.sum(dim=1).clamp(min=1)


def equal_weights(present: Tensor, dtype: torch.dtype) -> Tensor:
    """One share for each present modality, ``(B, M)``; zero for the absent."""
    return present.to(dtype) / present.sum(dim=1, keepdim=True).clamp(min=1)


class PooledFusion(Fusion):
    """Base for methods that read one vector a modality, all of one width.

    Each modality's mean token passes a linear map of its own to ``out_dim``. A subclass
    writes ``reduce`` on the stack.

    Args:
        dims: width of each modality's tokens, in fusion order.
        out_dim: width D of the fused vector.
        project: False for a map only where tokens have another width than D; the others join as
            their encoders made them.
    """

    def __init__(self, dims: Mapping[str, int], out_dim: int = 128, project: bool = True) -> None:
        super().__init__(dims, out_dim)
        self.project = nn.ModuleDict(
            {
                m: nn.Linear(d, out_dim) if project or d != out_dim else nn.Identity()
                for m, d in dims.items()
            }
        )

    def fuse(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """Projects, stacks and reduces."""
        stack = torch.stack([self.project[m](t.pooled()) for m, t in tokens.items()], dim=1)
        return self.reduce(stack.masked_fill(~present.unsqueeze(-1), 0), present)

    @abstractmethod
    def reduce(self, stack: Tensor, present: Tensor) -> Fused:
        """Joins the vectors ``(B, M, D)``; those of absent modalities are zero."""


class LateFusion(Fusion):
    """Base for methods whose heads judge each modality alone, before anything is joined.

    Each modality's mean token passes a perceptron of its own; the heads read each of these
    votes, and a subclass writes ``combine`` on what they say. ``Fused.vector`` is the mean
    of the present votes.

    Args:
        dims: width of each modality's tokens, in fusion order.
        out_dim: width D of a vote.
        hidden: width of the perceptron's hidden layer; 0 makes it one linear map.
        dropout: rate after the hidden layer.

    Shape:
        tokens[m].values (B, T_m, dims[m]), present (B, M) -> vector (B, D), votes (B, M, D)
    """

    is_late = True

    def __init__(
        self, dims: Mapping[str, int], out_dim: int = 128, hidden: int = 128, dropout: float = 0.0
    ) -> None:
        super().__init__(dims, out_dim)
        self.vote = nn.ModuleDict(
            {m: perceptron(d, hidden, out_dim, dropout) for m, d in dims.items()}
        )

    def fuse(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """One vote a modality."""
        votes = torch.stack([self.vote[m](t.pooled()) for m, t in tokens.items()], dim=1)
        votes = votes.masked_fill(~present.unsqueeze(-1), 0)
        weights = equal_weights(present, votes.dtype)
        return Fused(mean_of_present(votes, present), votes=votes, weights=weights)

    def read(self, head: nn.Module, fused: Fused, present: Tensor, target: TargetSpec) -> Tensor:
        """The scores of a target, ``(B, K)``; the head's of the prior where nothing is present."""
        assert fused.votes is not None
        assert fused.weights is not None
        # A modality whose tokens are all padding casts no vote, whatever the batch says.
        present = present & (fused.weights > 0)
        joined = self.combine(head(fused.votes), present, target)
        return torch.where(present.any(dim=1, keepdim=True), joined, head(self.prior))

    @abstractmethod
    def combine(self, logits: Tensor, present: Tensor, target: TargetSpec) -> Tensor:
        """Joins what a head says of each vote.

        What it returns for a row with nothing present does not matter, as long as its
        gradient is finite.

        Shape:
            logits (B, M, K), present (B, M) -> (B, K)

        Raises:
            ConfigError: a kind of target that the rule cannot join.
        """


def perceptron(width: int, hidden: int, out_dim: int, dropout: float = 0.0) -> nn.Module:
    """One hidden layer with ReLU; ``hidden=0`` makes it one linear map."""
    if not hidden:
        return nn.Linear(width, out_dim)
    return nn.Sequential(
        nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, out_dim)
    )
