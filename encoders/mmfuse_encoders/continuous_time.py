"""Encoder for series with irregular time stamps: attention over continuous time (mTAND)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmfuse.encoder import Encoder
from mmfuse.errors import ConfigError
from mmfuse.spec import ModalitySpec
from mmfuse.tokens import Tokens
from mmfuse_encoders.attention import check_heads
from mmfuse_encoders.tokens import sequence


class ContinuousTimeEncoder(Encoder):
    """Multi-time attention: reference points over time read the observations around them.

    One channel of each step is its time stamp; steps may come in any order. K reference
    points r_k, the same in every row, attend to the observations by time alone, and a
    recurrent network reads what they gather::

        phi(t)    = [w_0 t + a_0, sin(w_1 t + a_1), sin(w_2 t + a_2), ...]
        gathered  = sum_i softmax_i(<W_q phi(r_k), W_k phi(t_i)> / sqrt(width)) x_i   per head
        states    = GRU(U [gathered by all heads] for k = 1..K), read out at the last

    The weights of the observations add up to one, so that a denser sampling of the same signal
    gives nearly the same result; the time of a single observation alone is lost for the same
    reason. Time is standardised with the other channels, by one shift and one factor for all
    rows: order and proportions stay, and absolute time counts.

    A missing cell (NaN, with ``missing_cells="keep"``) is a channel that was not measured at
    that time; each channel then has attention weights of its own, and whether it was measured
    at all joins what is gathered. A step without a time stamp counts for nothing.

    Args:
        spec: a series modality, its number of steps fixed or None.
        out_dim: width of the result.
        hidden: width of the gathered vectors and of the recurrent state.
        points: number K of reference points.
        span: time of the first and of the last reference point, in the units that reach the
            encoder: deviations from the mean of training, unless the data do without
            ``standardise``.
        time_channel: the channel that holds the time stamp.
        time_width: width of the time embedding.
        heads: attention heads; they divide ``time_width``.
        dropout: rate before the readout.
        tokens: give the state at every reference point, not the last one.
        frozen: no learning.

    Shape:
        (B, T, C) or Tokens -> (B, out_dim), or Tokens (B, points, out_dim)

    Raises:
        ConfigError: ``heads`` does not divide ``time_width``, a span or a time channel that
            cannot be, or nothing measured but time.

    Reference: Shukla and Marlin, "Multi-Time Attention Networks for Irregularly Sampled Time
        Series", ICLR 2021, arXiv:2101.10318 (the encoder alone). The time embedding is that of
        Kazemi et al., "Time2Vec", 2019, arXiv:1907.05321.

    Departs from the paper: one time embedding for all heads, as in the authors' code; its
    first frequencies span the reference points, and keys start as queries, so that attention
    starts at what stands near in time; no decoder.
    """

    kinds = frozenset({"series"})
    takes_gaps = True

    reference: Tensor

    def __init__(
        self,
        spec: ModalitySpec | int | Sequence[int | None],
        out_dim: int = 64,
        hidden: int = 64,
        points: int = 32,
        span: Sequence[float] = (-2.0, 2.0),
        time_channel: int = 0,
        time_width: int = 32,
        heads: int = 4,
        dropout: float = 0.0,
        tokens: bool = False,
        frozen: bool = False,
    ) -> None:
        super().__init__(spec, out_dim, frozen)
        check_heads("ContinuousTimeEncoder", time_width, heads, "time_width")
        channels = self.spec.width
        if channels < 2 or not 0 <= time_channel < channels:
            raise ConfigError(
                f"ContinuousTimeEncoder: time_channel {time_channel} of {channels} channels; "
                "expected one of them, and another that is measured."
            )
        if len(span) != 2 or span[0] >= span[1] or points < 2:
            raise ConfigError(
                f"ContinuousTimeEncoder: {points} points over the span {list(span)}; expected 2 "
                "points or more, from an earlier to a later time."
            )
        self.time_channel, self.heads, self.tokens = time_channel, heads, tokens
        self.register_buffer(
            "reference", torch.linspace(span[0], span[1], points), persistent=False
        )
        self.time = _TimeEmbedding(time_width, span[1] - span[0], points)
        self.query, self.key = nn.Linear(time_width, time_width), nn.Linear(time_width, time_width)
        nn.init.xavier_normal_(self.query.weight, gain=2.0)
        self.key.load_state_dict(self.query.state_dict())
        parts = heads + 1 if self.spec.has_gaps else heads
        self.gather = nn.Linear(parts * (channels - 1), hidden)
        self.gru = nn.GRU(hidden, hidden, batch_first=True)
        self.readout = nn.Sequential(nn.Dropout(dropout), nn.Linear(hidden, out_dim))

    def forward(self, x: Tensor | Tokens) -> Tensor | Tokens:
        """Encodes the rows."""
        steps = sequence(x)
        time = steps.values[..., self.time_channel]
        before, _, after = steps.values.tensor_split(
            [self.time_channel, self.time_channel + 1], dim=2
        )
        values = torch.cat([before, after], dim=2)
        observed = steps.mask.unsqueeze(2)
        if self.spec.has_gaps:
            observed = observed & ~time.isnan().unsqueeze(2) & ~values.isnan()
            time, values = time.nan_to_num(0.0), values.masked_fill(~observed, 0)
        states, _ = self.gru(self.gather(self._attend(time, values, observed)))
        if not self.tokens:
            return self.readout(states[:, -1])
        return Tokens(self.readout(states), states.new_ones(states.shape[:2], dtype=torch.bool))

    def _attend(self, time: Tensor, values: Tensor, observed: Tensor) -> Tensor:
        """What the reference points gather, ``(B, K, parts * (C - 1))``.

        Args:
            time: ``(B, T)``.
            values: ``(B, T, C - 1)``, zero where nothing is observed.
            observed: likewise, or ``(B, T, 1)`` if all channels are observed together.
        """
        query = self.query(self.time(self.reference)).unflatten(-1, (self.heads, -1))
        key = self.key(self.time(time)).unflatten(-1, (self.heads, -1))
        scores = torch.einsum("khw,bthw->bkht", query, key) / key.shape[-1] ** 0.5
        # The lowest number, not minus infinity: a channel that was never observed then has even
        # weights over zeros, and gathers zero.
        shut = ~observed.transpose(1, 2)[:, None, None]
        scores = scores.unsqueeze(3).masked_fill(shut, torch.finfo(scores.dtype).min)
        weights = scores.softmax(dim=-1)  # (B, K, H, C - 1 or 1, T)
        if weights.shape[3] == 1:
            found = (weights.squeeze(3).flatten(1, 2) @ values).unflatten(1, scores.shape[1:3])
            return found.flatten(2)
        found = torch.einsum("bkhct,btc->bkhc", weights, values).flatten(2)
        measured = observed.any(dim=1, keepdim=True).to(found.dtype)
        return torch.cat([found, measured.expand(-1, found.shape[1], -1)], dim=2)


class _TimeEmbedding(nn.Module):
    """Time2Vec: one linear and many periodic functions of time, all learned.

    It starts with pairs of sine and cosine, from a wavelength of twice the span down to twice
    the distance between two reference points.
    """

    def __init__(self, width: int, span: float, points: int) -> None:
        super().__init__()
        pair = torch.arange(width - 1) // 2
        share = pair / max(int(pair[-1]), 1) if width > 1 else pair
        rate = math.pi / span * float(points) ** share
        quarter = torch.arange(width - 1) % 2 * math.pi / 2
        self.rate = nn.Parameter(torch.cat([torch.tensor([1 / span]), rate]))
        self.phase = nn.Parameter(torch.cat([torch.zeros(1), quarter]))

    def forward(self, time: Tensor) -> Tensor:
        angle = time.unsqueeze(-1) * self.rate + self.phase
        return torch.cat([angle[..., :1], angle[..., 1:].sin()], dim=-1)
