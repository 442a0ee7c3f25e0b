"""What routes and binding are made of: projectors, routers, and a batch norm that knows absence."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmfuse.errors import ConfigError
from mmfuse.recorded import Recorded
from mmfuse.unit import unit


class PresentBatchNorm(nn.BatchNorm1d):
    """Batch norm whose statistics come from the present rows alone.

    With fewer than two present rows there is no variance: the running statistics serve, and
    stay as they are.

    Shape:
        x (B, D), present (B,) bool -> (B, D); absent rows hold something finite
    """

    def forward(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """Normalises; all rows are present by default."""
        if not self.training:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        here = x.new_ones(len(x), 1) if present is None else present.unsqueeze(1).to(x.dtype)
        count = here.sum()
        mean = (x * here).sum(dim=0) / count.clamp(min=1)
        square = ((x - mean).square() * here).sum(dim=0)
        enough = count > 1
        with torch.no_grad():
            step = enough * (self.momentum or 0.0)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), step)
            self.running_var.lerp_(
                (square / (count - 1).clamp(min=1)).to(self.running_var.dtype), step
            )
            self.num_batches_tracked.add_(enough)
        mean = torch.where(enough, mean, self.running_mean)
        variance = torch.where(enough, square / count.clamp(min=1), self.running_var)
        return (x - mean) * (variance + self.eps).rsqrt() * self.weight + self.bias


class _Chain(nn.Module):
    """Layers of which the batch norms are told who is present."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        for layer in layers:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)

    def forward(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        for layer in self.layers:
            x = layer(x, present) if isinstance(layer, PresentBatchNorm) else layer(x)
        return x


class Projector(nn.Module, Recorded):
    """A frozen space's vectors in another space: one perceptron or the mean of several.

    ::

        f_j(x) = unit(BN(W_2 relu(BN(W_1 x + b_1)) + b_2)),   f(x) = unit(mean_j f_j(x))

    Weights start Xavier-uniform.

    Args:
        width: of the vectors that come in.
        out_dim: width of the space that they are brought into.
        hidden: width of the hidden layer.
        members: how many perceptrons are averaged.

    Shape:
        x (B, width), present (B,) -> (B, out_dim) of unit length

    Raises:
        ConfigError: a width or a number of members below 1.

    Reference: Wang et al., "OmniBind: Large-scale Omni Multimodal Representation via Binding
        Spaces", 2024, arXiv:2407.11895.

    Departs from the paper: the mean of several members is scaled to unit length again, so that
    a space's share in a mixture is what its weight says.
    """

    def __init__(self, width: int, out_dim: int, hidden: int = 2048, members: int = 1) -> None:
        super().__init__()
        if min(width, out_dim, hidden, members) < 1:
            raise ConfigError(
                f"Projector: width {width}, out_dim {out_dim}, hidden {hidden}, members {members}; "
                "expected 1 or more of each."
            )
        self.out_dim, self.hidden = out_dim, hidden
        self.members = nn.ModuleList(
            _Chain(
                nn.Linear(width, hidden),
                PresentBatchNorm(hidden),
                nn.ReLU(),
                nn.Linear(hidden, out_dim),
                PresentBatchNorm(out_dim),
            )
            for _ in range(members)
        )

    def forward(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """Brings vectors into the other space."""
        found = [unit(member(x, present)) for member in self.members]
        return found[0] if len(found) == 1 else unit(torch.stack(found).mean(dim=0))


class Router(nn.Module, Recorded):
    """How much each source counts for a row, read from what the sources say of it.

    ::

        s = sigmoid(W_3 tanh(BN(W_2 relu(BN(W_1 [x_1 ; ... ; x_K])))))
        w = softmax over the present sources of sharpness * s

    An absent source is zero in the input, which no vector of unit length is.

    Args:
        width: of the joined vectors.
        sources: how many there are, K.
        hidden: widths of the two hidden layers.
        sharpness: factor before the softmax. Sigmoids lie in [0, 1], so no weight is more than
            ``exp(sharpness)`` times another.

    Shape:
        x (B, width), present (B, K) -> weights (B, K), zero where absent

    Raises:
        ConfigError: not two hidden layers, a width below 1, or a sharpness of 0 or less.

    Reference: Wang et al., "OmniBind", 2024, arXiv:2407.11895; the layers are those of the
        authors' code.
    """

    def __init__(
        self, width: int, sources: int, hidden: Sequence[int] = (512, 100), sharpness: float = 1.0
    ) -> None:
        super().__init__()
        if len(hidden) != 2 or min(width, sources, *hidden) < 1 or not sharpness > 0:
            raise ConfigError(
                f"Router: width {width}, sources {sources}, hidden {list(hidden)}, sharpness "
                f"{sharpness}; expected two hidden layers, widths of 1 or more, and a sharpness "
                "above 0."
            )
        self.sharpness, self.hidden = sharpness, tuple(hidden)
        wide, narrow = hidden
        self.layers = _Chain(
            nn.Linear(width, wide),
            PresentBatchNorm(wide),
            nn.ReLU(),
            nn.Linear(wide, narrow),
            PresentBatchNorm(narrow),
            nn.Tanh(),
            nn.Linear(narrow, sources),
        )

    def indifferent(self) -> None:
        """Makes all weights equal, whatever is read; what it learns starts from there."""
        last = self.layers.layers[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def logits(self, x: Tensor, present: Tensor) -> Tensor:
        """What the sigmoid reads, ``(B, K)``; decoupling trains it against the source."""
        scores: Tensor = self.layers(x, present.any(dim=1))
        return scores

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """The weights."""
        return self.weigh(self.logits(x, present), present)

    def weigh(self, logits: Tensor, present: Tensor) -> Tensor:
        """Weights from what ``logits`` gave."""
        scores = self.sharpness * logits.sigmoid()
        lowest = torch.finfo(scores.dtype).min
        return scores.masked_fill(~present, lowest).softmax(dim=1).masked_fill(~present, 0)
