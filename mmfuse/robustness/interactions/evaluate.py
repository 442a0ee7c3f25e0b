"""evaluate_interactions: a model and rows -> what modalities are worth alone and in pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError
from mmfuse.model import FusionModel
from mmfuse.robustness.interactions.encodings import encodings
from mmfuse.robustness.interactions.estimators import ESTIMATORS, Estimates, Estimator
from mmfuse.robustness.interactions.neural import NeuralSettings
from mmfuse.robustness.interactions.result import COLUMNS, InteractionResult
from mmfuse.robustness.metrics import mean_score
from mmfuse.robustness.permutation import permutation_importance
from mmfuse.robustness.row_importance import item_types, mean_importance, mean_interactions
from mmfuse.robustness.row_scores import row_scores
from mmfuse.robustness.shapley import is_exact
from mmfuse.robustness.shapley import pairs as every_pair


def evaluate_interactions(
    model: FusionModel,
    batches: Sequence[Batch],
    *,
    train: Sequence[Batch] = (),
    val: Sequence[Batch] = (),
    estimators: Sequence[Estimator] = ("clusters",),
    clusters: int = 20,
    pairs: int = 15,
    draws: int = 5,
    bootstrap: int = 1000,
    seed: int = 0,
    progress: Callable[[], None] | None = None,
) -> InteractionResult:
    """Importance row by row and permuted, Shapley interactions, and information in bits.

    Survival targets have no score of single rows and are left out. Values are cut into four
    classes of equal size for the decomposition; of several labels or values a row it is not made.

    Args:
        model: read in eval mode; its mode is restored.
        batches: rows with targets that trained nothing, read several times.
        train: other rows, which networks are fitted to; read for ``neural`` alone.
        val: more other rows, which choose among the networks' epochs; without them a fifth of
            ``train`` does. Better, as encoders have seen the answers of training rows.
        estimators: of the bits, any of ``clusters``, ``neural`` and ``bounds``; see ``Estimator``.
        clusters: of each modality's encodings, fewer where rows are few: at least ten rows for
            each.
        pairs: at most so many pairs of modalities are decomposed, those whose Shapley
            interaction is the largest in size.
        draws: of other rows, for permuted modalities.
        bootstrap: resamples behind each interval; of the decomposition a tenth of it.
        seed: of everything that is drawn.
        progress: called after each piece of work, ``steps`` times in all.

    Raises:
        ConfigError: every target is survival, or there is none; unknown estimators.
        DataError: no rows, or none with a label.
    """
    check_estimators(estimators)
    targets = scored_targets(model)
    names = model.modalities
    told: dict[str, list[pd.DataFrame]] = {name: [] for name in COLUMNS}
    left_out: list[str] = []
    # Networks alone ask for other rows than those that are told of.
    others = (train, val) if "neural" in estimators else ((), ())
    fit, choose = (encodings(model, rows) if rows else None for rows in others)
    read = encodings(model, batches)
    settings = NeuralSettings(device=next(model.parameters()).device)
    step = progress or (lambda: None)

    for target in targets:
        spec = model.spec.targets[target]
        score = "probability" if spec.is_classification else "squared_error"
        unit = {"target": target, "score": score}
        scores = row_scores(model, batches, target=target, seed=seed)
        told["importance"].append(mean_importance(scores, bootstrap, seed).assign(**unit))
        if spec.kind in ("binary", "multiclass") and is_exact(scores.value, names):
            right = row_scores(model, batches, "correct", target, seed=seed)
            share = item_types(right).value_counts(normalize=True)
            told["types"].append(
                pd.DataFrame({"type": share.index, "share": share.to_numpy()}).assign(
                    target=target, rows=len(scores.rows)
                )
            )
        step()
        permuted = permutation_importance(model, batches, target=target, draws=draws, seed=seed)
        told["importance"].append(_permuted(permuted, names, bootstrap, seed).assign(**unit))
        step()
        if len(names) < 2:
            continue
        joint = mean_interactions(scores, bootstrap, seed)
        told["pairs"].append(joint.assign(**unit))
        size = joint["value"].abs().fillna(0)
        chosen = joint.loc[size.sort_values(ascending=False, kind="stable").index[:pairs]]
        left_out += [
            f"{target}: {first} and {second}, as only {pairs} pairs are decomposed"
            for first, second in _named(joint.drop(chosen.index))
        ]
        estimates = None
        if (own := read.told(target, spec, read)) is None:
            left_out.append(f"{target}, as a row has several labels or values")
        else:
            known, chooses = (
                None if e is None else e.told(target, spec, read) for e in (fit, choose)
            )
            estimates = Estimates(own, known, chooses, clusters, bootstrap // 10, seed, settings)
        for first, second in _named(chosen.sort_index()):
            for estimator in estimators:
                if estimates is None:
                    break
                found = estimates.of(first, second, estimator)
                if isinstance(found, str):
                    left_out.append(f"{target}: {first} and {second} by {estimator}, {found}")
                    continue
                for name, table in found.items():
                    told[name].append(table.assign(target=target))
            step()
    tables = {
        name: pd.concat(parts, ignore_index=True)[list(COLUMNS[name])]
        if parts
        else pd.DataFrame({column: [] for column in COLUMNS[name]})
        for name, parts in told.items()
    }
    meta: dict[str, Any] = {
        "modalities": list(names),
        "estimators": list(estimators),
        "clusters": clusters,
        "left_out": left_out,
        "bootstrap": bootstrap,
        "seed": seed,
    }
    return InteractionResult(**tables, meta=meta)


def check_estimators(estimators: Sequence[Estimator]) -> None:
    """Refuses names of no estimator, and none at all.

    Raises:
        ConfigError: naming them.
    """
    unknown = [e for e in estimators if e not in ESTIMATORS]
    if unknown or not estimators or len(set(estimators)) < len(estimators):
        raise ConfigError(
            f"Interactions: estimators are {list(estimators)}; expected one or more of "
            f"{list(ESTIMATORS)}, each once."
        )


def scored_targets(model: FusionModel) -> list[str]:
    """The targets whose rows have scores of their own.

    Raises:
        ConfigError: there is none.
    """
    found = [t for t, s in model.spec.targets.items() if s.kind != "survival"]
    if not model.heads or not found:
        raise ConfigError(
            f"Interactions need a target of classes, labels or values; the model predicts "
            f"{ {t: s.kind for t, s in model.spec.targets.items()} or 'none' }."
        )
    return found


def steps(model: FusionModel, pairs: int) -> int:
    """How often ``evaluate_interactions`` calls ``progress``."""
    return (2 + min(pairs, len(every_pair(model.modalities)))) * len(scored_targets(model))


def _named(pairs: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(pairs["first"], pairs["second"], strict=True))


def _permuted(
    table: pd.DataFrame, modalities: Sequence[str], bootstrap: int, seed: int
) -> pd.DataFrame:
    """The mean of what rows lose, with its interval."""
    wide = table.pivot(index="row", columns="modality", values="loss")[list(modalities)]
    found = mean_score("loss", wide.to_numpy(float).T, bootstrap, seed)
    return pd.DataFrame(
        {
            "modality": list(modalities),
            "reading": "permuted",
            "value": found.value,
            "low": found.low,
            "high": found.high,
        }
    )
