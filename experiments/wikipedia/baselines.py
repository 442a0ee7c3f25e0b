"""Baselines: correlation matching, semantic matching and both, with scikit-learn.

After Rasiwasia et al., "A new approach to cross-modal multimedia retrieval", ACM MM 2010. Each
has one setting, chosen on the validation rows that the contrastive losses are chosen on.
"""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import torch
from sklearn.cross_decomposition import CCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mmfuse import CatalogueData
from mmfuse.retrieval import retrieval_scores

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]
COMPONENTS, PENALTIES = (3, 5, 7, 9), (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
BASELINES = ("random order", "CCA", "semantic matching (labels)", "CCA, then semantic (labels)")
Setting = tuple[float, ...]
CHOICES: dict[str, list[Setting]] = {
    "random order": [()],
    "CCA": list(itertools.product(COMPONENTS, (0, 1))),
    "semantic matching (labels)": list(itertools.product(PENALTIES, (0, 1), (0, 1))),
    "CCA, then semantic (labels)": list(itertools.product(COMPONENTS, PENALTIES, (0, 1))),
}


def arrays(data: CatalogueData, split: str) -> Arrays:
    """Pictures, texts and categories."""
    batch = data.dataset(split).__getitems__(data.rows(split).tolist())
    labels = batch.target["category"].numpy()
    return batch.inputs["image"].numpy(), batch.inputs["text"].numpy(), labels


def correlated(train: Arrays, components: int, is_weighted: bool, *others: Arrays) -> list[Arrays]:
    """All of them in the space of canonical correlations of ``train``.

    Weighted, each direction has unit variance times its correlation.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # iterations that end early in the last components
        fitted = CCA(components, max_iter=2000).fit(*train[:2])
        mapped = [fitted.transform(*part[:2]) for part in (train, *others)]
    if is_weighted:
        x, y = mapped[0]
        weight = [np.corrcoef(a, b)[0, 1] for a, b in zip(x.T, y.T, strict=True)]
        scale = [weight / side.std(axis=0) for side in (x, y)]
        mapped = [tuple(side * w for side, w in zip(m, scale, strict=True)) for m in mapped]
    return [(x, y, part[2]) for (x, y), part in zip(mapped, (train, *others), strict=True)]


def semantic(
    train: Arrays, penalty: float, is_scaled: bool, is_centred: bool, other: Arrays
) -> Arrays:
    """Probabilities of the categories, by a logistic regression a modality."""
    found = []
    for x, new in zip(train[:2], other[:2], strict=True):
        model = LogisticRegression(C=penalty, max_iter=5000)
        if is_scaled:
            model = make_pipeline(StandardScaler(), model)
        model.fit(x, train[2])
        mean = model.predict_proba(x).mean(axis=0) if is_centred else 0
        found.append(model.predict_proba(new) - mean)
    return found[0], found[1], other[2]


def scores(found: Arrays) -> dict[str, float]:
    """Mean average precision by category both ways, and the share of own texts in the first 10."""
    image, text = (torch.from_numpy(np.ascontiguousarray(x)) for x in found[:2])
    labels = {"query_labels": torch.from_numpy(found[2]), "item_labels": torch.from_numpy(found[2])}
    return {
        "image_to_text": retrieval_scores(image, text, **labels).mean_average_precision,
        "text_to_image": retrieval_scores(text, image, **labels).mean_average_precision,
        "own_text_in_10": retrieval_scores(image, text).recall[10],
    }


def placed(name: str, setting: Setting, train: Arrays, other: Arrays) -> Arrays:
    """The other rows where a baseline puts them."""
    if name == "random order":
        nowhere = np.zeros((len(other[2]), 1))
        return nowhere, nowhere, other[2]
    if name == "CCA":
        return correlated(train, int(setting[0]), bool(setting[1]), other)[1]
    if name == "semantic matching (labels)":
        return semantic(train, setting[0], bool(setting[1]), bool(setting[2]), other)
    mapped = correlated(train, int(setting[0]), False, other)
    return semantic(mapped[0], setting[1], True, bool(setting[2]), mapped[1])


def baseline(name: str, validation: list[CatalogueData], data: CatalogueData) -> dict[str, float]:
    """Scores of the test rows, after the setting was chosen on validation rows."""
    parts = [(arrays(v, "train"), arrays(v, "val")) for v in validation]

    def validated(setting: Setting) -> float:
        found = [scores(placed(name, setting, *part)) for part in parts]
        return float(np.mean([f["image_to_text"] + f["text_to_image"] for f in found]))

    best = max(CHOICES[name], key=validated)
    print(f"{name}: {best}", flush=True)
    return scores(placed(name, best, arrays(data, "train"), arrays(data, "test")))
