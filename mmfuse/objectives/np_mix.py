"""NPMix: outliers between neighbouring classes, on which the modalities' heads are to be unsure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError
from mmfuse.objectives.a2d import A2D, require_ratios
from mmfuse.objectives.base import Schedule
from mmfuse.objectives.disagreement import Distance, disagreement
from mmfuse.objectives.pairwise import labels_of, mean_token
from mmfuse.tokens import Tokens

if TYPE_CHECKING:
    from mmfuse.model import FusionModel, Output


class NPMix(A2D):
    """A2D with outliers mixed from the embeddings of neighbouring classes.

    It is ``A2D``, on the same heads, and two losses more. For each class the last ``queue``
    embeddings of complete rows are kept, all modalities beside each other, without gradient; the
    mean of a full queue is the class's prototype. In each step every class c with a full queue
    gives one outlier, with a random one n of the ``neighbours`` nearest prototypes, by Euclidean
    distance::

        o = lambda u + (1 - lambda) v,   u from queue c, v from queue n, lambda ~ Beta(alpha, alpha)

    Its parts go to the modalities' heads, whose scores are t_m::

        np_mix_entropy = -ratio_entropy  mean_{o, m}  H(softmax(t_m)) / log K
        np_mix_outlier = -ratio_outlier  mean_{o, pairs (m, n)}  d(softmax(t_m), softmax(t_n))

    As queues hold no gradient, only the heads learn from outliers. Until ``neighbours`` + 1
    queues are full, and in evaluation, both losses are zero. Queues are buffers, which a
    checkpoint keeps. Of several processes the first one's queues count.

    Args:
        weight: factor in the sum of objectives, of the heads' losses too.
        schedule: how the factor moves over training.
        hidden: width of the heads' hidden layer; 0 makes them linear maps.
        ratio: factor of the disagreement on the rows; see ``A2D``.
        ratio_entropy: factor of the entropy on the outliers.
        ratio_outlier: factor of the disagreement on the outliers.
        distance: d, as in ``mmfuse.objectives.disagreement.distance``.
        target: the target of classes; None where there is one only.
        queue: embeddings kept a class.
        neighbours: nearest classes to mix with.
        alpha: of the Beta distribution; above 1 outliers are near the middle.
        warmup: training steps without outliers, in which queues are filled.

    Raises:
        ConfigError: as ``A2D``; a queue or neighbours below 1, an alpha that is not above 0, or a
            warm-up below 0; at ``build``: not more classes than neighbours.

    Reference: Dong et al., "MultiOOD: Scaling out-of-distribution detection for multiple
        modalities", NeurIPS 2024, arXiv:2405.17419.

    Departs from the authors' code: as ``A2D``, so that their ratios are multiplied by M + 1;
    outliers start once enough queues are full and not all, so that a class without complete
    rows does not forbid them; a warm-up in steps, not 10 epochs.
    """

    queues: Tensor
    filled: Tensor
    next: Tensor
    step: Tensor

    def __init__(
        self,
        weight: float = 1.0,
        schedule: Schedule = "constant",
        hidden: int = 0,
        ratio: float = 0.5,
        ratio_entropy: float = 0.5,
        ratio_outlier: float = 0.5,
        distance: Distance = "hellinger",
        target: str | None = None,
        queue: int = 65,
        neighbours: int = 2,
        alpha: float = 10.0,
        warmup: int = 0,
    ) -> None:
        super().__init__(weight, schedule, hidden, ratio, distance, target)
        require_ratios("NPMix", ratio_entropy=ratio_entropy, ratio_outlier=ratio_outlier)
        if queue < 1 or neighbours < 1 or not 0 < alpha < math.inf or warmup < 0:
            raise ConfigError(
                f"NPMix: queue={queue}, neighbours={neighbours}, alpha={alpha}, warmup={warmup}; "
                "expected 1 or more, 1 or more, a number above 0, and 0 or more."
            )
        self.ratio_entropy, self.ratio_outlier = ratio_entropy, ratio_outlier
        self.queue, self.neighbours, self.alpha, self.warmup = queue, neighbours, alpha, warmup

    def build(self, model: FusionModel) -> None:
        """Makes the heads and one empty queue a class."""
        super().build(model)
        classes = model.spec.targets[self._target].out_dim
        if self.neighbours >= classes:
            raise ConfigError(
                f"NPMix: neighbours is {self.neighbours}; target {self._target!r} has {classes} "
                f"classes, so give {classes - 1} or less."
            )
        width = sum(model.dims.values())
        self.register_buffer("queues", torch.zeros(classes, self.queue, width))
        self.register_buffer("filled", torch.zeros(classes, dtype=torch.long))
        self.register_buffer("next", torch.zeros(classes, dtype=torch.long))
        self.register_buffer("step", torch.zeros((), dtype=torch.long))

    def forward(
        self, model: FusionModel, batch: Batch, tokens: Mapping[str, Tokens], output: Output
    ) -> dict[str, Tensor]:
        """The losses of ``A2D``, ``np_mix_entropy`` and ``np_mix_outlier``."""
        losses = super().forward(model, batch, tokens, output)
        entropy = apart = losses["a2d"].new_zeros(())
        if self.training:
            self._remember(model, batch, tokens)
            ready = (self.filled == self.queue).nonzero().squeeze(1)
            if len(ready) > self.neighbours and int(self.step) > self.warmup:
                entropy, apart = self._on_outliers(model, self.outliers(ready))
        return losses | {
            "np_mix_entropy": -self.ratio_entropy * entropy,
            "np_mix_outlier": -self.ratio_outlier * apart,
        }

    @torch.no_grad()
    def outliers(self, ready: Tensor) -> Tensor:
        """One outlier for each class whose queue is full.

        Shape:
            ready (C,) long, the classes -> (C, D) with the modalities beside each other
        """
        full = self.queues[ready].to(torch.promote_types(self.queues.dtype, torch.float32))
        prototypes, count = full.mean(dim=1), len(ready)
        apart = torch.cdist(prototypes, prototypes)
        apart.fill_diagonal_(math.inf)
        near = apart.topk(self.neighbours, dim=1, largest=False).indices
        every = torch.arange(count, device=near.device)
        other = near[every, torch.randint(self.neighbours, (count,), device=near.device)]
        place = torch.randint(self.queue, (2, count), device=near.device)
        both = full.new_full((count, 2), self.alpha)
        share = torch.distributions.Dirichlet(both, validate_args=False).sample()[:, :1]
        mixed = share * full[every, place[0]] + (1 - share) * full[other, place[1]]
        return mixed.to(self.queues.dtype)

    def _on_outliers(self, model: FusionModel, outliers: Tensor) -> tuple[Tensor, Tensor]:
        parts = outliers.split(list(model.dims.values()), dim=1)
        said = torch.stack(
            [
                self.head(m, self._target)(part)
                for m, part in zip(model.modalities, parts, strict=True)
            ],
            dim=1,
        )
        p = said.to(torch.promote_types(said.dtype, torch.float32)).log_softmax(dim=-1)
        entropy = -(p.exp() * p).sum(dim=-1).mean() / math.log(said.shape[-1])
        everyone = torch.ones_like(said[..., 0], dtype=torch.bool)
        return entropy, disagreement(said, everyone, self.distance)[0].mean()

    @torch.no_grad()
    def _remember(self, model: FusionModel, batch: Batch, tokens: Mapping[str, Tokens]) -> None:
        """Writes the complete, labelled rows over the oldest of their classes' queues."""
        self.step += 1
        found = [mean_token(m, model, batch, tokens) for m in model.modalities]
        labels = labels_of(batch, model, self._target)
        complete = torch.stack([present for _, present in found]).all(dim=0) & (labels >= 0)
        rows = complete.nonzero().squeeze(1)
        labels = labels[rows]
        vectors = torch.cat([vector for vector, _ in found], dim=1)[rows]
        one_hot = labels.unsqueeze(1) == torch.arange(len(self.filled), device=labels.device)
        count = one_hot.sum(dim=0)
        turn = (one_hot.cumsum(dim=0) - 1).gather(1, labels.unsqueeze(1)).squeeze(1)
        # Of more rows of a class than its queue holds, the last ones stay.
        stays = turn >= count[labels] - self.queue
        slot = (self.next[labels] + turn) % self.queue
        self.queues[labels[stays], slot[stays]] = vectors[stays].to(self.queues.dtype)
        self.next.copy_((self.next + count) % self.queue)
        self.filled.copy_((self.filled + count).clamp(max=self.queue))
