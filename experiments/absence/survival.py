"""Survival of four cancers as omics go missing: concordance by rate, DisPro beside others.

The folds, encoders, epochs and optimizer are those of experiments/survival; each fold tests once
and all other patients train. Training rows keep what they have, but for modality dropout. Lines are
added to survival.csv as each training ends.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path

import pandas as pd
from fits import fitted
from methods import METHODS

from mmfuse import CatalogueData, FusionModel
from mmfuse.baselines import baseline_scores
from mmfuse.baselines.models import LINEAR
from mmfuse.compare.table import interval
from mmfuse.missing import MCAR
from mmfuse.robustness import Condition, complete, evaluate
from mmfuse.runs import hush

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "survival"))
from folds import CANCERS, EPOCHS, FOLDS, data_of, settings
from progress import append, is_done

CHOSEN = ("declared absent", "dropout .3", "ridge imputed", "ShaSpec", "DisPro")
BASELINE = "ridge Cox, means"
RATES, MASK_SEEDS = (0.3, 0.6, 0.9), 3


def conditions() -> dict[str, Condition]:
    """Complete, and each rate under each seed of the masks."""
    found = {"0": complete()}
    for rate, seed in itertools.product(RATES, range(MASK_SEEDS)):
        found[f"{rate:g}, {seed}"] = Condition(f"{rate:g}, {seed}", "mcar", rate, MCAR(rate, seed))
    return found


def measured(model: FusionModel, data: CatalogueData) -> dict[str, float]:
    """The concordance under each condition."""
    result = evaluate(
        model,
        list(data.loader("test")),
        data.facts("test"),
        list(conditions().values()),
        bootstrap=0,
        importance=False,
    )
    table = result.conditions[result.conditions["metric"] == "c_index"]
    return dict(zip(conditions(), table["value"], strict=True))


def baseline(data: CatalogueData) -> dict[str, float]:
    """Ridge Cox on all features, training means where a modality is absent."""
    asked = conditions()
    table = baseline_scores(LINEAR, data, list(asked.values()))
    table = table[table["metric"] == "c_index"]
    return dict(zip(asked, table["value"], strict=True))


def table(scores: pd.DataFrame) -> str:
    """Concordance by rate, mean over cancers, with an interval over folds; then each cancer."""
    parts = []
    for title, own in [("mean", scores), *scores.groupby("cancer", sort=False)]:
        rates = sorted(own["rate"].unique())
        lines = [
            f"| {title} | {' | '.join(f'rate {r:g}' if r else 'complete' for r in rates)} |",
            "|---" * (len(rates) + 1) + "|",
        ]
        for method, mine in own.groupby("method", sort=False):
            cells = []
            for rate in rates:
                # A fold's mean over cancers and masks is one number.
                value = mine[mine["rate"] == rate].groupby("fold")["value"].mean()
                middle, half = interval(value.to_numpy(dtype=float))
                cells.append(f"{middle:.3f} ± {half:.3f}")
            lines.append(f"| {method} | {' | '.join(cells)} |")
        parts.append("\n".join(lines))
    note = (
        f"Harrell's concordance; mean ± half-width of the 95 % Student interval over "
        f"{scores['fold'].nunique()} folds, each under {MASK_SEEDS} seeds of the masks."
    )
    return "\n\n".join([*parts, note]) + "\n"


def main() -> None:
    """Runs what is not done and writes the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--cancers", nargs="+", default=list(CANCERS), choices=CANCERS)
    parser.add_argument("--folds", type=int, nargs="+", default=list(FOLDS), choices=FOLDS)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    hush()
    path = given.out / "survival.csv"
    for cancer, fold in itertools.product(given.cancers, given.folds):
        for method in (*CHOSEN, BASELINE):
            key = {"cancer": cancer, "fold": fold, "method": method}
            if is_done(path, key):
                continue
            data = data_of(cancer, fold, bins=4)
            if method == BASELINE:
                found = baseline(data)
            else:
                encoders, optimizer = settings()
                model = fitted(
                    METHODS[method], data, encoders, fold, given.epochs, optimizer=optimizer
                )
                found = measured(model, data)
            lines = [
                key | {"rate": float(c.partition(",")[0]), "condition": c, "value": v}
                for c, v in found.items()
            ]
            append(lines, path)
            print(f"{cancer}, fold {fold}, {method}: done", flush=True)
    told = table(pd.read_csv(path))
    (given.out / "survival.md").write_text(told)
    print(told)


if __name__ == "__main__":
    main()
