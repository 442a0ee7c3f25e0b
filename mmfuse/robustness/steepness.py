"""Steepness: how fast the difference of two classes' scores can change with each modality."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

import torch
from torch import Tensor, nn

from mmfuse.batch import Batch
from mmfuse.encoder import Encoder
from mmfuse.errors import ConfigError, DataError
from mmfuse.fusion.crmt import CRMTFusion, CRMTHead
from mmfuse.model import FusionModel
from mmfuse.robustness.attacks.strike import attackable
from mmfuse.robustness.attacks.surface import surface_of
from mmfuse.robustness.attacks.threat import On, Threat


def proven_steepness(model: FusionModel, target: str, on: On = "inputs") -> Tensor:
    """Bounds that hold for every input, ``(M, K, K)``, of a model with ``CRMTFusion``.

    With L_m the encoder's proven Lipschitz bound and V_m the linear map of its votes::

        c^(m)_jk = L_m | V_m' (a_j^(m) w_j^(m) - a_k^(m) w_k^(m)) |

    Args:
        model: in eval mode.
        target: whose classes.
        on: ``tokens`` takes L_m = 1.

    Raises:
        ConfigError: another fusion, or an encoder without a proven bound, named.
    """
    gram = proven_gram(model, target, on)
    return squared_steepness(gram, class_weights(model, target)).clamp(min=0).sqrt()


def proven_gram(model: FusionModel, target: str, on: On = "inputs") -> Tensor:
    """``(M, K, K)`` L_m^2 times the products of the class rows as tokens see them.

    Arguments and errors as ``proven_steepness``.
    """
    head, fusion = crmt_head(model, target), cast(CRMTFusion, model.fusion)
    grams = []
    for m, rows in zip(model.modalities, _class_rows(model, target, head.rows), strict=True):
        vote = fusion.vote[m]
        if isinstance(vote, nn.Linear):
            rows = rows @ vote.weight
        bound = _proven(model, m) if on == "inputs" else 1.0
        grams.append(bound**2 * rows @ rows.mT)
    return torch.stack(grams)


def steepness_alone(
    model: FusionModel, batches: Iterable[Batch], target: str, on: On = "inputs"
) -> Tensor:
    """``(M, K)`` the largest gradient of each class's score in one modality, before its weight.

    Unlike ``estimated_steepness`` it holds for whatever weights come.

    Arguments and errors as ``estimated_steepness``.
    """
    steep = class_steepness(model, batches, target, on)
    return steep / class_weights(model, target).detach()


def summed_gram(alone: Tensor) -> Tensor:
    """``(M, K, K)`` from which ``squared_steepness`` makes ``(a_j t_j + a_k t_k)^2``; t (M, K)."""
    gram = -alone.unsqueeze(2) * alone.unsqueeze(1)
    return torch.diagonal_scatter(gram, alone.square(), dim1=1, dim2=2)


def squared_steepness(gram: Tensor, weights: Tensor) -> Tensor:
    """``|a_j g_j - a_k g_k|^2`` from products of the g's: gram (M, K, K), weights (M, K)."""
    scaled = weights.unsqueeze(2) * gram * weights.unsqueeze(1)
    own = scaled.diagonal(dim1=1, dim2=2)
    return own.unsqueeze(2) + own.unsqueeze(1) - 2 * scaled


def class_weights(model: FusionModel, target: str) -> Tensor:
    """``(M, K)`` the weights a; 1 for the class of a binary target whose score is always 0."""
    weights = crmt_head(model, target).weights
    if model.spec.targets[target].kind == "binary":
        weights = torch.cat([torch.ones_like(weights), weights], dim=1)
    return weights


def crmt_head(model: FusionModel, target: str) -> CRMTHead:
    """The head of a model with ``CRMTFusion``.

    Raises:
        ConfigError: it has another fusion.
    """
    head = model.heads[target]
    if not isinstance(head, CRMTHead):
        raise ConfigError(
            f"A certified radius needs CRMTFusion; the model has {type(model.fusion).__name__}. "
            "Give training rows in estimate_on for an estimated radius, or train with CRMTFusion."
        )
    return head


def estimated_steepness(
    model: FusionModel, batches: Iterable[Batch], target: str, on: On = "inputs"
) -> Tensor:
    """The largest gradient of each difference of scores among some rows, ``(M, K, K)``.

    It works for any fusion and bounds nothing: another input may be steeper. The gradient is that
    of the difference, not the sum of two; each modality's is taken by itself, in eval mode.

    Args:
        model: any whose encoders pass gradients.
        batches: rows, such as the training rows.
        target: whose classes.
        on: gradients by ``inputs`` (as the encoder reads them) or ``tokens``.

    Raises:
        ConfigError: an input that is not made of real numbers, or an encoder without a gradient.
        DataError: no rows.
    """
    count = _class_count(model, target)
    found = torch.zeros(len(model.modalities), count, count)
    for slopes in _all_slopes(model, batches, target, on):
        for m, by_class in slopes.items():
            apart = torch.cdist(by_class, by_class, compute_mode="donot_use_mm_for_euclid_dist")
            place = model.modalities.index(m)
            found = found.to(apart)
            found[place] = found[place].maximum(apart.amax(dim=0))
    return found


def class_steepness(
    model: FusionModel, batches: Iterable[Batch], target: str, on: On = "inputs"
) -> Tensor:
    """The largest gradient of each class's own score among some rows, ``(M, K)``.

    Arguments and errors as ``estimated_steepness``.
    """
    found = torch.zeros(len(model.modalities), _class_count(model, target))
    for slopes in _all_slopes(model, batches, target, on):
        for m, by_class in slopes.items():
            longest = by_class.norm(dim=2).amax(dim=0)
            place = model.modalities.index(m)
            found = found.to(longest)
            found[place] = found[place].maximum(longest)
    return found


def _class_count(model: FusionModel, target: str) -> int:
    spec = model.spec.targets[target]
    return 2 if spec.kind == "binary" else spec.out_dim


def _all_slopes(
    model: FusionModel, batches: Iterable[Batch], target: str, on: On
) -> Iterator[dict[str, Tensor]]:
    """For each batch and modality the gradient of each class's score, ``(B, K, numbers)``."""
    threat, is_empty = Threat(model.modalities, on=on), True
    for batch in batches:
        is_empty = False
        with attackable(model):
            surface = surface_of(model, batch, threat, target)
            with torch.enable_grad():
                leaves = {
                    m: torch.zeros_like(p.values, requires_grad=True)
                    for m, p in surface.parts.items()
                }
                slopes = _slopes(surface.scores(leaves), leaves)
        yield slopes
    if is_empty:
        raise DataError("There are no rows to estimate from: the loader gave no batch.")


def _slopes(scores: Tensor, leaves: dict[str, Tensor]) -> dict[str, Tensor]:
    if not leaves or not len(scores):
        return {}
    by_class: list[tuple[Tensor, ...]] = []
    for k in range(scores.shape[1]):
        found = torch.autograd.grad(
            scores[:, k].sum(), list(leaves.values()), retain_graph=True, allow_unused=True
        )
        by_class.append(
            tuple(
                torch.zeros_like(v) if g is None else g
                for g, v in zip(found, leaves.values(), strict=True)
            )
        )
    return {
        m: torch.stack([g[i].flatten(1) for g in by_class], dim=1) for i, m in enumerate(leaves)
    }


def _class_rows(model: FusionModel, target: str, rows: Tensor) -> Tensor:
    """``(M, K, D)``; the other class of a binary target has a row of zeros."""
    if model.spec.targets[target].kind != "binary":
        return rows
    return torch.cat([torch.zeros_like(rows), rows], dim=1)


def _proven(model: FusionModel, modality: str) -> float:
    encoder = cast(Encoder, model.encoders[modality])
    bound = encoder.lipschitz
    if bound is None:
        raise ConfigError(
            f"Modality {modality!r}: no Lipschitz bound is proven for {type(encoder).__name__}, so "
            "that no radius can be certified. Take an encoder with one, such as "
            "LipschitzMLPEncoder or LipschitzCNNEncoder, or give training rows in estimate_on for "
            "an estimated radius."
        )
    return bound
