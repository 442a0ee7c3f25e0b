"""Training: how one stage is fitted, a compact loop over tuples that are drawn."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from mmfuse.binding.drawn import Drawn
from mmfuse.binding.pairs import Tuples
from mmfuse.errors import ConfigError
from mmfuse.recorded import Recorded

#: Told the steps done and the steps in all.
Progress = Callable[[int, int], None]


class Training(Recorded):
    """How every stage is trained: AdamW, with a learning rate that falls along a cosine.

    The stages are two layers over vectors that are at hand, so a plain loop serves; what is
    fitted depends on the seed and the data alone.

    Args:
        steps: of each stage.
        batch_size: tuples a step, whose others are the negatives.
        learning_rate: at the start.
        weight_decay: of AdamW.
        temperature: of InfoNCE.

    Raises:
        ConfigError: a number that is not above 0 (weight decay: below 0), or a batch of one.
    """

    def __init__(
        self,
        steps: int = 1000,
        batch_size: int = 1024,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-4,
        temperature: float = 0.05,
    ) -> None:
        if steps < 1 or batch_size < 2 or weight_decay < 0 or min(learning_rate, temperature) <= 0:
            raise ConfigError(
                f"Training: steps {steps}, batch_size {batch_size}, learning_rate {learning_rate}, "
                f"weight_decay {weight_decay}, temperature {temperature}; expected a batch of 2 or "
                "more, weight decay of 0 or more, and all others above 0."
            )
        self.steps, self.batch_size = steps, batch_size
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.temperature = temperature

    @property
    def scale(self) -> float:
        """What cosines are multiplied by in InfoNCE."""
        return 1 / self.temperature

    def fit(
        self,
        module: nn.Module,
        tuples: Tuples,
        loss: Callable[[Drawn], Tensor],
        progress: Progress | None = None,
    ) -> None:
        """Minimises the mean of ``loss`` over the tuples.

        Args:
            module: whose parameters learn.
            tuples: what is drawn, in a random order, all before any again.
            loss: of some tuples, a scalar.
            progress: told of steps.

        Raises:
            ConfigError: the loss is not finite.
        """
        size = min(self.batch_size, len(tuples))
        optimizer = torch.optim.AdamW(
            module.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
        )
        generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        order = torch.empty(0, dtype=torch.long)
        module.train()
        for step in range(self.steps):
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate * (1 + math.cos(math.pi * step / self.steps)) / 2
            if len(order) < size:
                order = torch.cat([order, torch.randperm(len(tuples), generator=generator)])
            index, order = order[:size], order[size:]
            value = loss(tuples.draw(index, generator))
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            optimizer.step()
            if progress is not None:
                progress(step + 1, self.steps)
        module.eval()
        if not all(torch.isfinite(p).all() for p in module.parameters()):
            raise ConfigError(
                f"The loss diverged within {self.steps} steps at learning_rate "
                f"{self.learning_rate}. Give a smaller one."
            )
