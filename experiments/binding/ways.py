"""The ways that are compared: each gives every test corpus its vectors, in one space of its own."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import torch
from items import NO_CLASS, Rows
from measure import Embed
from spaces import SPACES
from torch import Tensor
from torch.nn import functional as F

from mmfuse import ArrayData, Extractor, SupervisedTask, Trainer, load
from mmfuse.binding import (
    CMCR,
    Aggregation,
    BindingMethod,
    FreeBind,
    MeanOfSpaces,
    OmniBind,
    Pool,
    Retrieval,
    Specialist,
    Training,
    bind,
)
from mmfuse.features import embed as embedded
from mmfuse.objectives import CLIPLoss

#: The space with the most texts of its own is the one that others are brought into.
BASE = "emoji"


@dataclass(frozen=True)
class Features:
    """The vectors of one seed.

    Args:
        folder: of a folder for each corpus and space.
        rows: of the seed.
        foreign: whether images and sounds are in the spaces of the other kind too.
    """

    folder: Path
    rows: Rows
    foreign: bool = False

    def spaces_of(self, corpus: str) -> list[str]:
        """The spaces that have a corpus: all have every text."""
        modality = self.rows.pooled[corpus].modality
        if modality == "text":
            return list(SPACES)
        able = [s for s, how in SPACES.items() if how.modality == modality]
        return able if self.foreign else [s for s in able if corpus.startswith(f"{s}_")]

    def pools(self) -> dict[str, Pool]:
        """Every corpus without its test rows."""
        return {
            corpus: Pool.read(
                items.modality,
                {s: (self.folder / corpus / s, None) for s in self.spaces_of(corpus)},
                trained=[corpus.split("_")[0]],
            )
            for corpus, items in self.rows.pooled.items()
        }

    def vectors(self, corpus: str, is_test: bool) -> dict[str, Tensor]:
        """What every space says of a corpus: of its test rows, or of the others."""
        modality, found = self.rows.pooled[corpus].modality, {}
        for s in self.spaces_of(corpus):
            table = pd.read_parquet(self.folder / corpus / s / "data").sort_values("row")
            chosen = table[(table["split"] == "test") == is_test]
            found[s] = torch.from_numpy(np.stack(chosen[modality].to_list())).float()
        return found


def binding_ways(short: float = 1.0) -> dict[str, tuple[BindingMethod, str]]:
    """Each method with the base it brings others into.

    Args:
        short: factor of the number of steps.
    """
    training = Training(steps=max(2, round(150 * short)), batch_size=256, temperature=0.1)
    given: dict[str, Any] = {"training": training, "hidden": 128, "intra": 1.0}
    retrieved = {"pairs": Retrieval(k=5, noise=0.3), **given}
    return {
        **{f"specialist: {s}": (Specialist(), s) for s in SPACES},
        "mean of spaces": (MeanOfSpaces(**retrieved), BASE),
        "C-MCR": (CMCR(pairs=Aggregation(temperature=0.05), **given), BASE),
        "FreeBind": (FreeBind(**retrieved), BASE),
        "router (i)": (OmniBind(decoupling=0.0, **retrieved), BASE),
        "router (i) + (ii)": (OmniBind(decoupling=1.0, **retrieved), BASE),
    }


def bound(features: Features, method: BindingMethod, base: str, seed: int, out: Path) -> Embed:
    """Binds, or reads what was bound before."""
    space = bind(features.pools(), method, base, seed, out)

    def embed(corpus: str) -> Tensor | None:
        vectors = features.vectors(corpus, is_test=True)
        if isinstance(method, Specialist) and base not in vectors:  # it would get the prior
            return None
        return space.embed(features.rows.test[corpus].modality, vectors)

    return embed


def relay(features: Features, temperature: float = 0.05) -> Embed:
    """No training at all: an item is what it resembles among the pooled texts.

    Of each item the softmax over its cosines with all pooled texts, in each space, and the mean
    over the spaces; the root of it, so that a cosine compares two distributions (Bhattacharyya).
    """
    texts = [c for c, items in features.rows.pooled.items() if items.modality == "text"]
    said = [features.vectors(c, is_test=False) for c in texts]
    corpus_of = {s: F.normalize(torch.cat([v[s] for v in said]), dim=1) for s in SPACES}

    def embed(corpus: str) -> Tensor:
        each = [
            (F.normalize(x, dim=1) @ corpus_of[s].T / temperature).softmax(dim=1)
            for s, x in features.vectors(corpus, is_test=True).items()
        ]
        return torch.stack(each).mean(dim=0).sqrt()

    return embed


def ceiling(features: Features, seed: int, passes: float = 1.0) -> Embed:
    """Perceptrons on the same frozen vectors, trained on true pairs of pooled image and sound.

    Each pooled sound is paired with a pooled image of its class, three times. What a row has no
    space for is zero. Texts are not embedded.
    """
    draw = np.random.default_rng(seed)
    pooled = features.rows.pooled
    images = _joined(features, ["written_digits", "emoji_pictures"], is_test=False)
    sounds = _joined(features, ["spoken_digits", "natural_sounds"], is_test=False)
    of_images = np.concatenate([pooled[c].label for c in ("written_digits", "emoji_pictures")])
    of_sounds = np.concatenate([pooled[c].label for c in ("spoken_digits", "natural_sounds")])
    kinds = {c: np.flatnonzero(of_images == c) for c in np.unique(of_images) if c != NO_CLASS}
    heard = np.tile(np.arange(len(of_sounds)), 3)
    shown = np.array([draw.choice(kinds[c]) for c in of_sounds[heard]])

    L.seed_everything(seed, verbose=False)
    epochs = max(1, round(15 * passes))
    data = ArrayData(
        {"image": images[shown].numpy(), "sound": sounds[heard].numpy()},
        val=0.0,
        test=0.0,
        seed=seed,
        batch_size=256,
    )
    perceptron = {"class_path": "MLPEncoder", "init_args": {"hidden": [256], "out_dim": 64}}
    task = SupervisedTask(
        {"image": perceptron, "sound": perceptron},
        "MeanFusion",
        objectives=[CLIPLoss()],
        optimizer=partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.05),
        scheduler=partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=epochs),
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            max_epochs=epochs, default_root_dir=folder, logger=False, enable_progress_bar=False
        )
        trainer.fit(task, datamodule=data)
        model = Extractor(load(trainer.checkpoint_callback.last_model_path))

    def embed(corpus: str) -> Tensor | None:
        modality = features.rows.test[corpus].modality
        if modality == "text":
            return None
        return embedded(model, {modality: _joined(features, [corpus], is_test=True).numpy()})

    return embed


def _joined(features: Features, corpora: list[str], is_test: bool) -> Tensor:
    """Vectors of unit length, side by side for every space of the modality."""
    modality = features.rows.pooled[corpora[0]].modality
    places = [s for s, how in SPACES.items() if how.modality == modality]
    parts = []
    for corpus in corpora:
        said = features.vectors(corpus, is_test)
        size = len(next(iter(said.values())))
        empty = {s: torch.zeros(size, SPACES[s].width) for s in places}
        parts.append(torch.cat([F.normalize((empty | said)[s], dim=1) for s in places], dim=1))
    return torch.cat(parts)
