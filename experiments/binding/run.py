"""The controlled study of binding: four small spaces of real data, joined without a cross pair.

python experiments/binding/run.py

Trains the spaces, extracts their features, binds them in every way, measures. A killed run goes on
where it stopped; what was measured is in scores.csv, the table in table.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pandas as pd
from items import Source
from measure import Embed, measure
from spaces import SPACES, extract, train
from ways import Features, binding_ways, bound, ceiling, relay

from mmfuse.compare.table import interval
from mmfuse.files import replacing

HERE = Path(__file__).parent
CHANCE = "chance"
#: Which spaces have an image or a sound: that of its kind, or every one of its modality.
SETTINGS = {"own": False, "every": True}
#: Columns of the two tables.
EMERGENT = (
    "digit image to sound",
    "digit sound to image",
    "clip to its emoji, top 1",
    "emoji to clips",
    "joint image and sound",
)
TEXTS = (
    "text to written digits",
    "text to spoken digits",
    "text to clips",
    "description to unseen emoji, top 10",
)
NAMES = ("written digit by name", "spoken digit by name", "clip by name")


def ways(
    features: Features, seed: int, folder: Path, short: float
) -> Iterator[tuple[str, Callable[[], Embed]]]:
    """Each way by name, made when it is asked for."""
    yield CHANCE, lambda: lambda corpus: None
    for name, (method, base) in binding_ways(short).items():
        out = folder / "".join(c for c in name.lower() if c.isalnum())
        yield name, partial(bound, features, method, base, seed, out)
    yield "relay through texts", partial(relay, features)
    yield "trained on true pairs", partial(ceiling, features, seed, short)


def one_seed(source: Source, seed: int, folder: Path, share: int, short: float) -> None:
    """Trains, extracts and measures what is not done, a line for each way in a file."""
    rows = source.rows(seed)
    rows = rows.short(share) if share > 1 else rows
    for space in SPACES:
        file = folder / f"{space}.ckpt"
        if not file.is_file():
            began = time.process_time()
            train(space, rows, seed, file, short)
            print(f"seed {seed}: {space} trained in {time.process_time() - began:.0f} s of CPU")
        extract(space, rows, file, folder / "features")
    lines = measured(folder)
    for setting, foreign in SETTINGS.items():
        features = Features(folder / "features", rows, foreign)
        for name, make in ways(features, seed, folder / "bound" / setting, short):
            if ((lines["way"] == name) & (lines["setting"] == setting)).any():
                continue
            began = time.process_time()
            embed = make()
            seconds = round(time.process_time() - began, 1)
            told = {"setting": setting, "way": name, "seed": seed, "seconds": seconds}
            found = {**told, **measure(embed, rows)}
            lines = pd.concat([lines, pd.DataFrame([found])], ignore_index=True)
            with replacing(folder / "scores.csv") as part:
                lines.to_csv(part, index=False)
            scores = " ".join(f"{found[c]:.2f}" for c in EMERGENT)
            print(f"seed {seed}: {setting}, {name}, {seconds} s of CPU, emergent {scores}")


def measured(folder: Path) -> pd.DataFrame:
    """The lines of a seed that are there."""
    file = folder / "scores.csv"
    return pd.read_csv(file) if file.is_file() else pd.DataFrame({"setting": [], "way": []})


def table(scores: pd.DataFrame, columns: tuple[str, ...]) -> str:
    """Mean and half-width of the interval over seeds, a line a way."""
    lines = [f"| way | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, own in scores.groupby("way", sort=False):
        cells = ["{:.3f} ± {:.3f}".format(*interval(own[c].to_numpy())) for c in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def tables(scores: pd.DataFrame) -> str:
    """All tables; the ceiling embeds no text."""
    parts = []
    for setting, heading in (
        ("own", "An image or a sound in the space of its kind alone"),
        ("every", "An image or a sound in every space of its modality"),
    ):
        own = scores[scores["setting"] == setting]
        with_text = own[own["way"] != "trained on true pairs"]
        parts += [
            f"### {heading}",
            "Pairs of image and sound, which no space was trained on:",
            table(own, EMERGENT),
            "What texts find among all images, or all sounds:",
            table(with_text, TEXTS),
            "Classes told by their names (accuracy):",
            table(with_text, NAMES),
        ]
    count = scores["seed"].nunique()
    return "\n\n".join(
        [*parts, f"Mean ± half-width of the 95 % Student interval, {count} seeds.\n"]
    )


def main() -> None:
    """Every seed: its lines in scores.csv, and at the end the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--runs", type=Path, default=Path("runs/binding"), help="of the work")
    parser.add_argument("--out", type=Path, default=HERE, help="of scores.csv and table.md")
    parser.add_argument("--rows", type=int, default=1, help="take every so-manieth row (a trial)")
    parser.add_argument("--short", type=float, default=1.0, help="factor of epochs and steps")
    given = parser.parse_args()
    source = Source()
    for seed in given.seeds:
        one_seed(source, seed, given.runs / f"seed_{seed}", given.rows, given.short)
    scores = pd.concat([measured(given.runs / f"seed_{s}") for s in given.seeds])
    given.out.mkdir(parents=True, exist_ok=True)
    scores.round(4).to_csv(given.out / "scores.csv", index=False)
    (given.out / "table.md").write_text(tables(scores))
    print(f"\n{tables(scores)}\nTable: {given.out / 'table.md'}")


if __name__ == "__main__":
    main()
