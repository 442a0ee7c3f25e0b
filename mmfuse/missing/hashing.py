"""Counter-based random numbers: a function of the seed, the row and the stream alone."""

from __future__ import annotations

import functools
import hashlib

import torch
from torch import Tensor

_STEP = 0x9E3779B97F4A7C15


def _signed(word: int) -> int:
    """The int64 that has the same 64 bits as ``word`` modulo 2^64."""
    word &= 2**64 - 1
    return word - 2**64 if word >= 2**63 else word


def _shifted(x: Tensor, bits: int) -> Tensor:
    # torch shifts int64 arithmetically; the mask makes it the logical shift of uint64.
    return (x >> bits) & (2 ** (64 - bits) - 1)


def mix(x: Tensor) -> Tensor:
    """The output function of SplitMix64 on every element, on 64 bits held in int64.

    Reference: Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
    OOPSLA 2014, with the constants of Vigna's public domain splitmix64.c (variant 13 of
    David Stafford's mixers).
    """
    x = (x ^ _shifted(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shifted(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shifted(x, 31)


@functools.lru_cache(maxsize=4096)
def key(seed: int, *stream: int | str) -> int:
    """A 64-bit key for a seed and the words that name a stream; the same in every process."""
    words = b"".join(repr(word).encode() + b"\0" for word in (int(seed), *stream))
    return _signed(int.from_bytes(hashlib.blake2b(words, digest_size=8).digest(), "little"))


def uniform(seed: int, index: Tensor, *stream: int | str) -> Tensor:
    """Uniform numbers in [0, 1), one for each row number.

    Number ``i`` is output ``i`` of the SplitMix64 generator whose state is the key of seed
    and stream, so any row's number is found without the others'.

    Args:
        seed: any whole number.
        index: row numbers, any shape, long.
        stream: words that name the purpose, such as a modality; other words give
            independent numbers.

    Shape:
        index (...) -> (...) float64

    Example:
        >>> rows = torch.tensor([0, 1, 2])
        >>> bool((uniform(0, rows, "image")[1:] == uniform(0, rows[1:], "image")).all())
        True
    """
    state = key(seed, *stream) + (index.long() + 1) * _signed(_STEP)
    return _shifted(mix(state), 11).double() * 2.0**-53


def uniforms(seed: int, index: Tensor, count: int, *stream: int | str) -> Tensor:
    """Several uniform numbers in [0, 1) for each row; the first few do not depend on the count.

    Each row has a SplitMix64 generator of its own, whose state is the row's output of the one
    that ``uniform`` reads.

    Args:
        seed: any whole number.
        index: row numbers, long.
        count: how many for each.
        stream: words that name the purpose, as in ``uniform``.

    Shape:
        index (...) -> (..., count) float64

    Example:
        >>> rows = torch.tensor([4, 7])
        >>> bool((uniforms(0, rows, 5)[:, :3] == uniforms(0, rows, 3)).all())
        True
    """
    place = torch.arange(1, count + 1, device=index.device) * _signed(_STEP)
    state = mix(key(seed, *stream) + (index.long() + 1) * _signed(_STEP))
    return _shifted(mix(state.unsqueeze(-1) + place), 11).double() * 2.0**-53
