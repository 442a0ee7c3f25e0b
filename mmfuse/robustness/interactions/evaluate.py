"""evaluate_interactions: a model and rows -> what modalities are worth alone and in pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError
from mmfuse.model import FusionModel
from mmfuse.objectives.supervised import targets_of
from mmfuse.robustness.interactions.discrete import PARTS, discretised_pid
from mmfuse.robustness.interactions.result import COLUMNS, InteractionResult
from mmfuse.robustness.metrics import is_labelled, mean_score
from mmfuse.robustness.passes import evaluating
from mmfuse.robustness.permutation import permutation_importance
from mmfuse.robustness.row_importance import item_types, mean_importance, mean_interactions
from mmfuse.robustness.row_scores import row_scores
from mmfuse.robustness.shapley import is_exact
from mmfuse.spec import TargetSpec

# Values are cut into so many classes of equal size before they are decomposed.
_BINS = 4
# With fewer rows than this a cluster, the decomposition is mostly chance.
_ROWS_A_CLUSTER = 10


def evaluate_interactions(
    model: FusionModel,
    batches: Sequence[Batch],
    *,
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
        clusters: of each modality's encodings, fewer where rows are few: at least ten rows for
            each.
        pairs: at most so many pairs of modalities are decomposed, those whose Shapley
            interaction is the largest in size.
        draws: of other rows, for permuted modalities.
        bootstrap: resamples behind each interval; of the decomposition a tenth of it.
        seed: of everything that is drawn.
        progress: called after each piece of work, ``steps`` times in all.

    Raises:
        ConfigError: every target is survival, or there is none.
        DataError: no rows, or none with a label.
    """
    targets = scored_targets(model)
    names = model.modalities
    told: dict[str, list[pd.DataFrame]] = {name: [] for name in COLUMNS}
    left_out: list[str] = []
    encoded = _encodings(model, batches)

    def step() -> None:
        if progress is not None:
            progress()

    for target in targets:
        scores = row_scores(model, batches, target=target, seed=seed)
        spec = model.spec.targets[target]
        score = "probability" if spec.is_classification else "squared_error"
        told["importance"].append(
            mean_importance(scores, bootstrap, seed).assign(target=target, score=score)
        )
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
        told["importance"].append(
            _permuted(permuted, names, bootstrap, seed).assign(target=target, score=score)
        )
        step()
        if len(names) > 1:
            joint = mean_interactions(scores, bootstrap, seed)
            told["pairs"].append(joint.assign(target=target, score=score))
            size = joint["value"].abs().fillna(0)
            chosen = joint.loc[size.sort_values(ascending=False, kind="stable").index[:pairs]]
            left_out += [
                f"{target}: {first} and {second}, as only {pairs} pairs are decomposed"
                for first, second in joint.drop(chosen.index)[["first", "second"]].itertuples(
                    index=False
                )
            ]
            for first, second in chosen.sort_index()[["first", "second"]].itertuples(index=False):
                found = _decomposed(
                    encoded, spec, target, first, second, clusters, bootstrap // 10, seed
                )
                if isinstance(found, str):
                    left_out.append(f"{target}: {first} and {second}, {found}")
                else:
                    told["pid"].append(found.assign(target=target))
        step()
    tables = {
        name: pd.concat(parts, ignore_index=True)[list(COLUMNS[name])]
        if parts
        else pd.DataFrame({column: [] for column in COLUMNS[name]})
        for name, parts in told.items()
    }
    meta: dict[str, Any] = {
        "modalities": list(names),
        "clusters": clusters,
        "left_out": left_out,
        "bootstrap": bootstrap,
        "seed": seed,
    }
    return InteractionResult(**tables, meta=meta)


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


def steps(model: FusionModel) -> int:
    """How often ``evaluate_interactions`` calls ``progress``."""
    return 3 * len(scored_targets(model))


@dataclass(frozen=True)
class _Encoded:
    """Pooled encodings and labels of rows; those of absent modalities mean nothing."""

    values: dict[str, NDArray[np.float64]]
    present: dict[str, NDArray[np.bool_]]
    labels: dict[str, NDArray[np.float64]]


def _encodings(model: FusionModel, batches: Sequence[Batch]) -> _Encoded:
    device = next(model.parameters()).device
    values: dict[str, list[NDArray[np.float64]]] = {m: [] for m in model.modalities}
    present, labels = [], {t: [] for t in model.spec.targets}  # type: ignore[var-annotated]
    with torch.no_grad(), evaluating(model):
        for batch in batches:
            here = batch.to(device)
            tokens = model.encode(here)
            present.append(model.present(here).cpu().numpy())
            for t, y in targets_of(batch, model).items():
                labels[t].append(y.cpu().double().numpy())
            for m in model.modalities:
                width = model.fusion.dims[m]
                pooled = tokens[m].pooled() if m in tokens else torch.zeros(len(batch), width)
                values[m].append(pooled.cpu().double().numpy())
    there = np.concatenate(present)
    return _Encoded(
        {m: np.concatenate(parts) for m, parts in values.items()},
        {m: there[:, i] for i, m in enumerate(model.modalities)},
        {t: np.concatenate(parts) for t, parts in labels.items()},
    )


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


def _decomposed(
    encoded: _Encoded,
    spec: TargetSpec,
    target: str,
    first: str,
    second: str,
    clusters: int,
    bootstrap: int,
    seed: int,
) -> pd.DataFrame | str:
    """The parts of two modalities, or why there are none."""
    label = encoded.labels[target]
    if label.ndim > 1 and label.shape[1] > 1:
        return "as a row has several labels or values"
    label = label.reshape(len(label))
    rows = encoded.present[first] & encoded.present[second] & is_labelled(spec, label)
    count = min(clusters, int(rows.sum()) // _ROWS_A_CLUSTER)
    if count < 2:
        return f"as only {int(rows.sum())} rows have both"
    known = label[rows]
    classes = known.astype(np.int64)
    if not spec.is_classification:
        edges = np.quantile(known, np.linspace(0, 1, _BINS + 1)[1:-1])
        classes = np.searchsorted(edges, known, side="right").astype(np.int64)
    found = discretised_pid(
        encoded.values[first][rows],
        encoded.values[second][rows],
        classes,
        count,
        bootstrap=bootstrap,
        seed=seed,
    )
    return pd.DataFrame(
        {
            "first": first,
            "second": second,
            "part": PARTS,
            "bits": found.pid.parts,
            "low": found.low,
            "high": found.high,
            "chance": found.chance,
            "rows": int(rows.sum()),
        }
    )
