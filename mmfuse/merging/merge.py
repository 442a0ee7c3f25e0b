"""Merging of models of one architecture into one model, which costs what one of them costs."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mmfuse.errors import ConfigError
from mmfuse.merging import arithmetic
from mmfuse.merging.ingredient import Ingredient, Source, blend, gather
from mmfuse.model import FusionModel


def uniform(
    sources: Sequence[Source], weights: Sequence[float] | None = None, skip: Sequence[str] = ()
) -> FusionModel:
    """The (weighted) average of models.

    ::

        theta = sum_i w_i theta_i,   w_i = 1 / N where none are given

    It helps only for models that lie in one basin of the loss, as those do that were tuned
    from one start. Running statistics of the average are not those of its activations:
    see ``reestimate``.

    Args:
        sources: models of one architecture, or paths of their checkpoints.
        weights: one each, that sum to 1.
        skip: patterns of tensors' names (``heads.*``) that stay the first model's, unscaled.

    Raises:
        ConfigError: fewer than two models, weights that do not sum to 1, a pattern that
            matches nothing.
        MissingFileError, CheckpointError: a checkpoint that is not there, or models that
            differ, naming in what.

    Reference: Shukor et al., "UnIVAL: Unified Model for Image, Video, Audio and Language
    Tasks", TMLR 2023, arXiv:2307.16184; Wortsman et al., "Model soups", ICML 2022,
    arXiv:2203.05482.
    Departs from UnIVAL's code: there a skipped tensor of N models is scaled on the way, so
    that of three models 16/27 of it are left, and tensors of other shapes are skipped in
    silence; statistics by which inputs are standardised are averaged too.

    Example:
        >>> import torch
        >>> from mmfuse import DataSpec, FusionModel, ModalitySpec, TargetSpec
        >>> from mmfuse.fusion import MeanFusion
        >>> from mmfuse_encoders import LinearEncoder
        >>> spec = DataSpec({"a": ModalitySpec.of(3)}, {"y": TargetSpec("binary")})
        >>> made = [
        ...     FusionModel(spec, {"a": LinearEncoder(3, 4)}, MeanFusion({"a": 4})) for _ in "ab"
        ... ]
        >>> soup = uniform(made)
        >>> biases = [m.heads["y"].bias.item() for m in (*made, soup)]
        >>> abs(biases[2] - (biases[0] + biases[1]) / 2) < 1e-6
        True
    """
    return blend(gather(sources), weights, skip).model()


def interpolate(
    first: Source, second: Source, share: float, skip: Sequence[str] = ()
) -> FusionModel:
    """A point on the straight line between two models.

    ::

        theta = (1 - l) theta_1 + l theta_2

    Args:
        first: what share 0 returns, exactly.
        second: what share 1 returns, exactly.
        share: l, the second model's share.
        skip: patterns of tensors' names that stay the first model's.

    Raises:
        ConfigError: a share outside 0 to 1, or a pattern that matches nothing.
        MissingFileError, CheckpointError: as ``uniform``.

    Reference: as ``uniform``. Departs from UnIVAL's code, where l is the first model's share.
    """
    return on_path(gather([first, second]), share, "interpolate", skip).model()


def slerp(first: Source, second: Source, share: float, skip: Sequence[str] = ()) -> FusionModel:
    """A point on the way from one model to another on which directions turn at constant speed.

    Each tensor moves by itself, see ``arithmetic.slerp``; statistics move linearly.

    Args:
        first: what share 0 returns, exactly.
        second: what share 1 returns, exactly.
        share: the second model's share.
        skip: patterns of tensors' names that stay the first model's.

    Raises:
        ConfigError, MissingFileError, CheckpointError: as ``interpolate``.

    Reference: Shoemake, "Animating Rotation with Quaternion Curves", SIGGRAPH 1985.
    """
    return on_path(gather([first, second]), share, "slerp", skip).model()


def on_path(
    pair: Sequence[Ingredient], share: float, method: str, skip: Sequence[str] = ()
) -> Ingredient:
    """The ingredient at a share of the second of two; errors as ``interpolate``.

    Args:
        pair: two that are alike.
        share: the second one's share.
        method: ``interpolate`` or ``slerp``.
        skip: patterns of tensors' names that stay the first one's.
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"The share of the second model is {share}; expected 0 to 1.")
    combine = _slerp if method == "slerp" else arithmetic.average
    return blend(pair, [1 - share, share], skip, combine, method)


def _slerp(values: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    return arithmetic.slerp(values[0], values[1], weights[1])
