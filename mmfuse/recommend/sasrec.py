"""SASRecUsers: a user is what a causal transformer makes of the last items that it took."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmfuse.errors import ConfigError
from mmfuse.recommend.lists import ItemLists
from mmfuse.recommend.sequence_users import SequenceUsers


class SASRecUsers(SequenceUsers):
    """Users by self-attention over their items, oldest first.

    ::

        h_0 = p_0,   h_t = sqrt(D) x_t + p_t            x_t the user's t-th item, p learned
        h <- h + drop(attention(norm(h)))               each line sees itself and those before it
        h <- h + drop(W_2 drop(relu(W_1 norm(h))))      both ``layers`` times
        x_u = norm(h)_n                                 after all n items

    Items are as ``ItemVectors``, encoders, fusion and a backbone of items make them. A training
    step reads each user's last L + 1 items in one pass, and predicts each of them from those
    before it, the first one from p_0; a user without any item in training gets the mean of the
    others, as everywhere. Needs the time of each interaction.

    Args:
        length: L, how many of a user's last items are looked at, at most.
        layers: of attention.
        heads: of each; they divide the width of the items' vectors.
        dropout: rate, from 0 up to, but not, 1.

    Raises:
        ConfigError: an option outside its range; at ``build``, heads that do not divide the width.

    Reference: Kang and McAuley, "Self-Attentive Sequential Recommendation" (SASRec), ICDM 2018,
        arXiv:1808.09781.

    Departs from the paper: positions count from the oldest item that is looked at, so that what a
    user is after some items does not depend on what it takes next, and p_0 stands before it,
    where the paper has padding; items are scaled by sqrt(D) and the last layer is normalised, as
    in the authors' code; several heads, as torch has them, with a map of their outputs.
    """

    def __init__(
        self, length: int = 50, layers: int = 2, heads: int = 1, dropout: float = 0.2
    ) -> None:
        super().__init__(length)
        if min(length, layers, heads) < 1 or not 0 <= dropout < 1:
            raise ConfigError(
                f"SASRecUsers: length {length}, layers {layers}, heads {heads}, dropout {dropout}; "
                "expected whole numbers from 1 up, and a rate from 0 up to, but not, 1."
            )
        self.layers, self.heads, self.dropout = layers, heads, dropout

    def build(self, train: ItemLists, width: int) -> None:
        """Makes positions and layers."""
        super().build(train, width)
        if width % self.heads:
            raise ConfigError(
                f"SASRecUsers: {self.heads} heads do not divide the width of the items' vectors, "
                f"{width}. Choose another number of heads, or another dim of ItemVectors."
            )
        self.positions = nn.Parameter(torch.empty(1 + self.length, width))
        nn.init.xavier_uniform_(self.positions)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, self.heads, width, self.dropout, batch_first=True, norm_first=True
            )
            for _ in range(self.layers)
        )
        self.norm = nn.LayerNorm(width)

    def read(self, vectors: Tensor) -> Tensor:
        """What users are after nothing, after their first item, and so on.

        Shape:
            vectors (n, l, D) -> (n, 1 + l, D)
        """
        count = 1 + vectors.shape[1]
        items = F.pad(vectors * math.sqrt(vectors.shape[2]), (0, 0, 1, 0))
        h = F.dropout(items + self.positions[:count], self.dropout, self.training)
        later = torch.ones(count, count, dtype=torch.bool, device=h.device).triu(1)
        for block in self.blocks:
            h = block(h, src_mask=later, is_causal=True)
        return self.norm(h)
