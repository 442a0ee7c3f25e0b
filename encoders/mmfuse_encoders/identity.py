"""IdentityEncoder: features as they come."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mmfuse.encoder import Encoder
from mmfuse.spec import ModalitySpec
from mmfuse.tokens import Tokens
from mmfuse_encoders.tokens import sequence


class IdentityEncoder(Encoder):
    """Features as they come, for a fusion that reads them as they are.

    Args:
        spec: a vector or tokens modality, or a width, which is also that of the result.
        pool: give the mean over the real tokens, not the tokens.
        frozen: changes nothing, as there is nothing to learn.

    Shape:
        (B, C) -> (B, C); (B, T, C) or Tokens -> Tokens (B, T, C), or (B, C)
    """

    kinds = frozenset({"tokens", "vector"})

    def __init__(
        self,
        spec: ModalitySpec | int | Sequence[int | None],
        pool: bool = False,
        frozen: bool = False,
    ) -> None:
        super().__init__(spec, 1, frozen)
        self.out_dim = self.spec.width
        self.pool = pool

    @property
    def lipschitz(self) -> float:
        """1: nothing moves, and a mean no further than what it is of."""
        return 1.0

    def forward(self, x: Tensor | Tokens) -> Tensor | Tokens:
        """The rows themselves."""
        if isinstance(x, Tensor) and x.dim() == 2:
            return x
        tokens = sequence(x)
        return tokens.pooled() if self.pool else tokens
