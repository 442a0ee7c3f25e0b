"""Choices by validation score: a point between two models, a soup of several."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError, DataError
from mmfuse.merging.ingredient import Ingredient, Source, blend, gather
from mmfuse.merging.merge import on_path
from mmfuse.merging.running import reestimate
from mmfuse.model import FusionModel

Evaluate = Callable[[FusionModel], float]

#: Shares of the second model that a curve goes through.
SHARES = tuple(i / 10 for i in range(11))


@dataclass(frozen=True)
class Choice:
    """A merged model that validation rows chose.

    Args:
        model: the model, in eval mode.
        weights: what each ingredient counts for in it.
        table: what was tried, a line each. Of a curve ``share``, ``score``, ``is_chosen``; of
            a soup ``model``, ``alone``, ``size`` (of the soup with it), ``score`` (of that
            soup), ``is_kept``.
    """

    model: FusionModel
    weights: tuple[float, ...]
    table: pd.DataFrame


def curve(
    first: Source,
    second: Source,
    evaluate: Evaluate,
    shares: Sequence[float] = SHARES,
    *,
    method: str = "interpolate",
    skip: Sequence[str] = (),
    batches: Iterable[Batch] | None = None,
    higher_is_better: bool = True,
    progress: Callable[[str], None] = lambda name: None,
) -> Choice:
    """Scores along the way from one model to another, and the best point.

    A dip between the ends is the loss barrier that tells two basins apart. Of equal scores
    the one nearest to the middle is chosen, which is farthest from where they fall.

    Args:
        first: at share 0.
        second: at share 1.
        evaluate: a model's score on validation rows; see ``ValidationScore``.
        shares: shares of the second model, each from 0 to 1.
        method: ``interpolate`` or ``slerp``.
        skip: patterns of tensors' names that stay the first model's.
        batches: training rows, from which a mixture takes running statistics anew.
        higher_is_better: of scores.
        progress: called with the name of what comes next.

    Raises:
        ConfigError: no share, one outside 0 to 1, another method, or a pattern that matches
            nothing.
        MissingFileError, CheckpointError: as ``uniform``.
        DataError: no score is defined.

    Reference: Shukor et al., "UnIVAL", TMLR 2023, arXiv:2307.16184; for the barrier Frankle
    et al., "Linear Mode Connectivity and the Lottery Ticket Hypothesis", ICML 2020,
    arXiv:1912.05671.
    """
    if not shares:
        raise ConfigError("A curve needs shares of the second model, such as 0, 0.5 and 1.")
    if method not in ("interpolate", "slerp"):
        raise ConfigError(f"method is {method!r}; expected interpolate or slerp.")
    pair = gather([first, second])
    shares = sorted(dict.fromkeys(map(float, shares)))
    scores = []
    for share in shares:
        progress(f"share {share:g}")
        mixed = on_path(pair, share, method, skip)
        scores.append(evaluate(_ready(mixed, share not in (0, 1), batches)))
    best = _best(scores, higher_is_better, [-abs(s - 0.5) for s in shares])
    chosen = shares[best]
    model = _ready(on_path(pair, chosen, method, skip), chosen not in (0, 1), batches)
    table = pd.DataFrame({"share": shares, "score": scores})
    table["is_chosen"] = table.index == best
    return Choice(model, (1 - chosen, chosen), table)


def greedy_soup(
    sources: Sequence[Source],
    evaluate: Evaluate,
    *,
    skip: Sequence[str] = (),
    batches: Iterable[Batch] | None = None,
    higher_is_better: bool = True,
    progress: Callable[[str], None] = lambda name: None,
) -> Choice:
    """The greedy soup: from the best model down, whoever does not hurt the average stays in.

    ::

        S <- {};  for i in order of their own scores:
            S <- S + {i}   if score(mean(S + {i})) >= score(mean(S))

    Its validation score is at least the best single model's, if models that are averaged
    with nothing count as they are.

    Args:
        sources: models of one architecture, or paths of their checkpoints. Of equal scores
            the one given first comes first.
        evaluate: a model's score on validation rows; see ``ValidationScore``.
        skip: patterns of tensors' names that stay those of the best single model, unscaled.
        batches: training rows, from which a mixture takes running statistics anew.
        higher_is_better: of scores.
        progress: called with the name of what comes next.

    Raises:
        ConfigError, MissingFileError, CheckpointError: as ``uniform``.
        DataError: no score is defined.

    Reference: Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models
    improves accuracy without increasing inference time", ICML 2022, arXiv:2203.05482,
    recipe 1.
    """
    ingredients = gather(sources)
    alone = []
    for each in ingredients:
        progress(each.name)
        alone.append(evaluate(each.model()))
    sign = 1 if higher_is_better else -1
    # A score that is not defined comes last and never helps.
    ranks = [-math.inf if math.isnan(s) else sign * s for s in alone]
    order = sorted(range(len(alone)), key=lambda i: -ranks[i])
    if math.isnan(alone[order[0]]):
        raise DataError("No model has a defined score on the validation rows.")
    kept, best = [order[0]], alone[order[0]]
    lines = [(order[0], 1, best, True)]
    for i in order[1:]:
        progress(f"the soup with {ingredients[i].name}")
        soup = blend([ingredients[k] for k in (*kept, i)], None, skip, method="greedy")
        score = evaluate(_ready(soup, True, batches))
        helps = sign * score >= sign * best
        lines.append((i, len(kept) + 1, score, helps))
        if helps:
            kept, best = [*kept, i], score
    model = ingredients[kept[0]].model()
    if len(kept) > 1:
        soup = blend([ingredients[k] for k in kept], None, skip, method="greedy")
        model = _ready(soup, True, batches)
    table = pd.DataFrame(
        [(ingredients[i].name, alone[i], size, score, helps) for i, size, score, helps in lines],
        columns=["model", "alone", "size", "score", "is_kept"],
    )
    weights = tuple(1 / len(kept) if i in kept else 0.0 for i in range(len(ingredients)))
    return Choice(model, weights, table)


def _ready(mixed: Ingredient, is_mixture: bool, batches: Iterable[Batch] | None) -> FusionModel:
    model = mixed.model()
    if is_mixture and batches is not None:
        reestimate(model, batches)
    return model


def _best(scores: Sequence[float], higher_is_better: bool, ties: Sequence[float]) -> int:
    defined = [i for i, s in enumerate(scores) if not math.isnan(s)]
    if not defined:
        raise DataError("No point of the curve has a defined score on the validation rows.")
    sign = 1 if higher_is_better else -1
    return max(defined, key=lambda i: (sign * scores[i], ties[i]))
