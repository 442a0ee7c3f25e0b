"""Equations written out: one row, no mask, one head or one entry after another."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def norm(x: Tensor, module: nn.LayerNorm) -> Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    scale = (centred.square().mean(dim=-1, keepdim=True) + module.eps).sqrt()
    return centred / scale * module.weight + module.bias


def attention(query: Tensor, keys: Tensor, module: nn.MultiheadAttention) -> Tensor:
    """``query`` (T, D) reads ``keys`` (S, D)."""
    weights, biases = module.in_proj_weight.chunk(3), module.in_proj_bias.chunk(3)
    q = query @ weights[0].T + biases[0]
    k = keys @ weights[1].T + biases[1]
    v = keys @ weights[2].T + biases[2]
    width = module.head_dim
    heads = []
    for start in range(0, q.shape[1], width):
        part = slice(start, start + width)
        scores = q[:, part] @ k[:, part].T / width**0.5
        heads.append(scores.softmax(dim=1) @ v[:, part])
    return module.out_proj(torch.cat(heads, dim=1))


def encoder_layer(x: Tensor, layer: nn.TransformerEncoderLayer) -> Tensor:
    """``x`` (T, D) reads itself, then passes the perceptron."""
    y = norm(x, layer.norm1)
    x = x + attention(y, y, layer.self_attn)
    return x + layer.linear2(F.gelu(layer.linear1(norm(x, layer.norm2))))


def outer(vectors):
    """The outer product by its definition, one entry at a time."""
    shape = [len(v) for v in vectors]
    product = torch.empty(shape, dtype=torch.float64)
    for place in torch.cartesian_prod(*(torch.arange(n) for n in shape)).tolist():
        value = torch.tensor(1.0).double()
        for vector, i in zip(vectors, place, strict=True):
            value = value * vector[i]
        product[tuple(place)] = value
    return product
