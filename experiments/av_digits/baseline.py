"""Classical models on audio-visual digits: MFCC of the sound, pixels of the image, and both.

The rows and the seeds are those of compare.yaml: the seed draws the speaker who validates, and
whose rows no model here is trained on either, so that all see the same training rows.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torchaudio.transforms import MFCC

from mmfuse import CatalogueData
from mmfuse.compare.table import interval
from mmfuse.media import Sound

RECIPE = Path(__file__).parent / "compare.yaml"
STRETCHES = 5


def mfcc(sound: Sound, extract: MFCC) -> np.ndarray:
    """Mean of 20 coefficients in each fifth of the sound, and their deviation over all of it."""
    steps = extract(torch.from_numpy(sound.samples[0])).numpy()
    parts = np.array_split(steps, STRETCHES, axis=1)
    return np.concatenate([*(part.mean(axis=1) for part in parts), steps.std(axis=1)])


def features(data: CatalogueData) -> dict[str, np.ndarray]:
    """Both modalities as columns of numbers."""
    columns = data.dataset("train").columns
    rows = np.arange(len(columns["image"].present))
    extract = MFCC(8000, n_mfcc=20, melkwargs={"n_fft": 256, "hop_length": 128, "n_mels": 32})
    return {
        "sound": np.stack([mfcc(columns["sound"].read(i), extract) for i in rows]),
        "image": columns["image"].take(rows).reshape(len(rows), -1) / 255,
    }


def main() -> None:
    """Logistic regression on each modality and on both, for every seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    recipe = yaml.safe_load(RECIPE.read_text())
    parser.add_argument("--data", default=recipe["data"]["init_args"]["name"], help="%(default)s")
    parser.add_argument("--out", type=Path, help="file of the scores of every seed")
    given = parser.parse_args()
    base = CatalogueData(given.data)
    x, label = features(base), base.dataset("train").targets["digit"].numpy()
    used = {"sound": ["sound"], "image": ["image"], "sound and image": ["sound", "image"]}
    lines = []
    for seed in recipe["seeds"]:
        data = base.reseeded(seed)
        train, test = data.rows("train").numpy(), data.rows("test").numpy()
        for name, modalities in used.items():
            joined = np.concatenate([x[m] for m in modalities], axis=1)
            model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
            found = model.fit(joined[train], label[train]).predict(joined[test])
            scores = {
                "accuracy": accuracy_score(label[test], found),
                "macro_f1": f1_score(label[test], found, average="macro"),
            }
            lines.append({"model": f"logistic regression, {name}", "seed": seed, **scores})
    scores = pd.DataFrame(lines)
    if given.out:
        scores.to_csv(given.out, index=False)
    print("| model | accuracy | macro_f1 |\n|---|---|---|")
    for name, own in scores.groupby("model", sort=False):
        told = ["{:.3f} ± {:.3f}".format(*interval(own[m].to_numpy())) for m in scores.columns[2:]]
        print(f"| {name} | {' | '.join(told)} |")


if __name__ == "__main__":
    main()
