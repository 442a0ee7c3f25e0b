"""PlainAttention: torch's attention with its maps as modules, so that LoRA can wrap them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PlainAttention(nn.Module):
    """The same function as an ``nn.MultiheadAttention``, of whose weights it takes hold.

    torch's own module reads the weights of its two linear maps without calling them, so that
    nothing can be added to a map. peft's way around it subtracts what it added after each
    call, which leaves other weights behind, to rounding.

    Args:
        attention: queries, keys and values of one width, without added key biases.

    Shape:
        query (B, T, D), key and value (B, S, D), or (T, B, D) and (S, B, D) if
        ``attention.batch_first`` is False -> the same shape as query, and None
    """

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self.heads, self.dropout = attention.num_heads, attention.dropout
        self.batch_first = attention.batch_first
        with torch.device("meta"):  # its own weights would only be thrown away
            self.in_proj = nn.Linear(
                attention.embed_dim, 3 * attention.embed_dim, attention.in_proj_bias is not None
            )
        self.in_proj.weight = attention.in_proj_weight
        if attention.in_proj_bias is not None:
            self.in_proj.bias = attention.in_proj_bias
        self.out_proj = attention.out_proj

    @staticmethod
    def can_stand_for(module: nn.Module) -> bool:
        """Whether the module is an attention of this kind."""
        return (
            type(module) is nn.MultiheadAttention
            and module._qkv_same_embed_dim
            and module.bias_k is None
            and not module.add_zero_attn
        )

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> tuple[Tensor, None]:
        """Attends; the weights are never given."""
        if not self.batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        if key is query and value is query:
            parts = self.in_proj(query).chunk(3, dim=-1)
        else:
            given = enumerate((query, key, value))
            parts = tuple(self.in_proj(x).chunk(3, dim=-1)[i] for i, x in given)
        q, k, v = (p.unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in parts)
        mask = self._mask(attn_mask, key_padding_mask, q)
        rate = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, mask, dropout_p=rate)
        found = self.out_proj(mixed.transpose(1, 2).flatten(-2))
        return (found if self.batch_first else found.transpose(0, 1)), None

    def _mask(
        self, attention: Tensor | None, padding: Tensor | None, query: Tensor
    ) -> Tensor | None:
        """What is added to the scores; in torch's masks True means hidden."""
        found = None
        if attention is not None:
            found = _added(attention, query.dtype)
            if found.dim() == 3:  # one for each row and head
                found = found.view(-1, self.heads, *found.shape[1:])
        if padding is not None:
            hidden = _added(padding, query.dtype)[:, None, None]
            found = hidden if found is None else found + hidden
        return found


def _added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    if mask.dtype != torch.bool:
        return mask.to(dtype)
    return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, float("-inf"))
