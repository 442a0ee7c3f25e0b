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
from mmfuse.features import index, load

NEAREST = 10


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


def main() -> None:
    """A few neighbours by name, then the shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", default="runs/openmoji/features", help="what extract wrote")
    parser.add_argument("--rows", type=int, nargs="+", default=[94, 719, 902, 1897])
    given = parser.parse_args()
    data = CatalogueData("openmoji")
    description = data.dataset("train").columns["description"]
    name = [text.split(":")[0] for text in description.take(np.arange(len(description.present)))]
    stored = load(given.features).with_format("numpy")
    group, row = np.array(stored["target.group"]), np.array(stored["row"])
    assert (row == np.arange(len(name))).all()
    for column in ("picture", "description"):
        found = index(given.features, column).search_rows(given.rows, k=3)
        for query, near in zip(given.rows, found.rows.tolist(), strict=True):
            print(f"{column} of {name[query]}: {', '.join(name[i] for i in near)}")

    queries = data.rows("test").numpy()
    found = {
        f"{column} (trained)": index(given.features, column)
        .search_rows(queries, k=NEAREST)
        .rows.numpy()
        for column in ("picture", "description", "fused")
    }
    found |= {what: nearest(vectors, queries) for what, vectors in untrained(data).items()}
    print(f"\n| vectors | own group among the {NEAREST} nearest |\n|---|---|")
    for what, rows in found.items():
        print(f"| {what} | {(group[rows] == group[queries][:, None]).mean():.3f} |")
    chance = np.mean([(group == g).sum() - 1 for g in group[queries]]) / (len(group) - 1)
    print(f"| none (any other row) | {chance:.3f} |")


if __name__ == "__main__":
    main()
