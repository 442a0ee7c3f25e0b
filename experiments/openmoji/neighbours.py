"""Who is near whom among the extracted features of the emoji, by name; and how often that is right.

For every test row the ten nearest of all other rows: the share that belongs to the row's own
group. Grey pixels and TF-IDF, which nothing was trained for, stand beside the features.
"""

from __future__ import annotations

import argparse

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

from mmfuse import CatalogueData
from mmfuse.compare.table import interval
from mmfuse.features import index

NEAREST = 10
COLUMNS = ("picture", "description", "fused")


def untrained(data: CatalogueData) -> dict[str, np.ndarray]:
    """Vectors that need no training: small grey pictures, and words weighed by their rarity."""
    columns = data.dataset("train").columns
    rows = range(len(columns["picture"].present))
    small = [columns["picture"].read(i).convert("L").resize((24, 24)) for i in rows]
    grey = np.stack([np.asarray(p, dtype=float).ravel() for p in small])
    words = TfidfVectorizer(sublinear_tf=True).fit(
        columns["description"].take(data.rows("train").numpy())
    )
    return {
        "grey pixels, 24 x 24": normalize(grey - grey.mean(axis=0)),
        "TF-IDF of descriptions": normalize(
            words.transform(columns["description"].take(np.array(rows))).toarray()
        ),
    }


def nearest(vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """The ten rows of largest cosine with each query, itself left out."""
    cosine = vectors[queries] @ vectors.T
    cosine[np.arange(len(queries)), queries] = -np.inf
    return np.argsort(-cosine, axis=1, kind="stable")[:, :NEAREST]


def shown(folder: str, rows: list[int], name: list[str]) -> None:
    """The three nearest of a few rows, by name."""
    for column in COLUMNS[:2]:
        found = index(folder, column).search_rows(rows, k=3)
        for query, near in zip(rows, found.rows.tolist(), strict=True):
            print(f"{column} of {name[query]}: {', '.join(name[i] for i in near)}")


def main() -> None:
    """A few neighbours by name, then the shares: their mean over the folders of features."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", nargs="+", required=True, help="folders of mmfuse extract")
    parser.add_argument("--rows", type=int, nargs="+", default=[94, 719, 902, 1897])
    given = parser.parse_args()
    data = CatalogueData("openmoji")
    description = data.dataset("train").columns["description"]
    name = [text.split(":")[0] for text in description.take(np.arange(len(description.present)))]
    shown(given.features[0], given.rows, name)

    target = data.spec.targets["group"]
    group = np.array(target.classes)[data.dataset("train").targets["group"].numpy()]
    queries = data.rows("test").numpy()

    def share(rows: np.ndarray) -> float:
        return float((group[rows] == group[queries][:, None]).mean())

    print(f"\n| vectors | own group among the {NEAREST} nearest |\n|---|---|")
    for column in COLUMNS:
        found = [index(f, column).search_rows(queries, k=NEAREST).rows for f in given.features]
        mean, half = interval(np.array([share(rows.numpy()) for rows in found]))
        print(f"| {column} (trained) | {mean:.3f} ± {half:.3f} |")
    for what, vectors in untrained(data).items():
        print(f"| {what} | {share(nearest(vectors, queries)):.3f} |")
    others = [(group == g).sum() - 1 for g in group[queries]]
    print(f"| none (any other row) | {np.mean(others) / (len(group) - 1):.3f} |")


if __name__ == "__main__":
    main()
