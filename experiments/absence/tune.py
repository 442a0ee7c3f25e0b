"""Does the order of methods change when each family's one knob is chosen on validation rows?

The area under MCAR on the validation rows of seed 0 chooses; the chosen setting is then trained
and tested as all others are, in tuned.csv where the study has no such row. What is done is not
run again.

python experiments/absence/tune.py
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd
from methods import FAMILIES, METHODS
from run import EPOCHS, Columns, go_on, lines_of

from mmfuse.compare.table import interval
from mmfuse.runs import hush

sys.path.insert(0, str(Path(__file__).parents[1]))
from progress import append, is_done

SETS = ("av_digits_speakers",)
SEED, AREA = 0, "area under MCAR"


def chosen(tuning: pd.DataFrame, name: str, family: str) -> str:
    """The setting with the largest area on validation rows; of equals the one that is shown."""
    own = tuning[(tuning["data"] == name) & tuning["method"].isin(FAMILIES[family])]
    value = own.groupby("method")["value"].mean().reindex(FAMILIES[family])
    return str(value.idxmax())


def table(tuning: pd.DataFrame, scores: pd.DataFrame) -> str:
    """What was chosen of each family, and the area on test rows before and after."""
    lines = [
        "| set | family | chosen | settings on validation rows | test | as shown, test |",
        "|---" * 6 + "|",
    ]
    for name in dict.fromkeys(tuning["data"]):
        for family, settings in FAMILIES.items():
            best = chosen(tuning, name, family)
            own = tuning[tuning["data"] == name].set_index("method")["value"]
            seen = ", ".join(f"{own[m]:.3f}" for m in settings)
            tested = " | ".join(_area(scores, name, m) for m in (best, settings[0]))
            lines.append(f"| {name} | {family} | {best} | {seen} | {tested} |")
    return "\n".join(lines) + "\n"


def _area(scores: pd.DataFrame, name: str, method: str) -> str:
    is_own = (scores["data"] == name) & (scores["method"] == method) & (scores["what"] == AREA)
    middle, half = interval(scores[is_own].groupby("seed")["value"].mean().to_numpy(dtype=float))
    return f"{middle:.3f} ± {half:.3f}"


def main() -> None:
    """Runs what is not done and writes the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    hush()
    path, scores, tuned = (given.out / f"{n}.csv" for n in ("tuning", "scores", "tuned"))
    given_to_all = given.seeds, given.epochs
    for name in given.sets:
        columns = Columns.of(name)
        for method in (m for settings in FAMILIES.values() for m in settings):
            key = {"data": name, "method": method}
            if is_done(path, key):
                continue
            lines = pd.DataFrame(lines_of(method, columns, SEED, given.epochs, "val"))
            area = lines[lines["what"] == AREA]["value"].mean()
            append([{**key, "value": area}], path)
            print(f"{name}, {method}: {area:.3f} on validation rows", flush=True)
        best = [chosen(pd.read_csv(path), name, family) for family in FAMILIES]
        shown = [settings[0] for settings in FAMILIES.values()]
        go_on(scores, name, [m for m in [*shown, *best] if m in METHODS], *given_to_all)
        go_on(tuned, name, [m for m in best if m not in METHODS], *given_to_all)
    found = [pd.read_csv(p) for p in (scores, tuned) if p.exists()]
    told = table(pd.read_csv(path), pd.concat(found))
    (given.out / "tuning.md").write_text(told)
    print(told)


if __name__ == "__main__":
    main()
