"""What is measured of a way to embed: emergent pairs, texts and what they name, classes by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from items import Rows
from torch import Tensor
from torch.nn import functional as F

from mmfuse.retrieval import retrieval_scores

#: From the name of a corpus to its test items' vectors, or None where the way has none.
Embed = Callable[[str], Tensor | None]


def measure(embed: Embed, rows: Rows) -> dict[str, float]:
    """Every score of one way to embed; what it has no vectors for is chance.

    Texts search among all images, or all sounds, digits and others together; so do sounds and
    images for ``joint``. Everything is mean average precision by class, but for emoji of no
    class, which are found by their own description (recall at 10), and accuracies.
    """
    label = {c: torch.from_numpy(x.label) for c, x in rows.test.items()}
    found = {c: embed(c) for c in rows.test}
    width = next((len(x[0]) for x in found.values() if x is not None), 2)
    # What has no vector is at zero, as near to one thing as to another; ties count as chance.
    z = {c: torch.zeros(len(label[c]), width) if x is None else x for c, x in found.items()}
    images = torch.cat([z["written_digits"], z["emoji_pictures"]])
    sounds = torch.cat([z["spoken_digits"], z["natural_sounds"]])
    of_images = torch.cat([label["written_digits"], label["emoji_pictures"]])
    of_sounds = torch.cat([label["spoken_digits"], label["natural_sounds"]])

    def precision(queries: Tensor, of: Tensor, items: Tensor, of_items: Tensor) -> float:
        scores = retrieval_scores(queries, items, query_labels=of, item_labels=of_items)
        return scores.mean_average_precision

    def pair(a: str, b: str) -> float:
        return precision(z[a], label[a], z[b], label[b])

    stands = label["emoji_pictures"] >= 10
    ten, of_ten = z["emoji_pictures"][stands], label["emoji_pictures"][stands]
    clips, kind = z["natural_sounds"], label["natural_sounds"]
    named = retrieval_scores(clips, ten, query_labels=kind, item_labels=of_ten, ks=[1])
    unseen = torch.arange(len(z["written_digits"]) + len(ten), len(images))
    described = retrieval_scores(z["emoji_texts"][~stands], images, truth=unseen, ks=[10])
    joint = [
        precision(sounds, of_sounds, images, of_images),
        precision(images, of_images, sounds, of_sounds),
    ]
    return {
        "digit image to sound": pair("written_digits", "spoken_digits"),
        "digit sound to image": pair("spoken_digits", "written_digits"),
        "clip to its emoji, top 1": named.recall[1],
        "emoji to clips": precision(ten, of_ten, clips, kind),
        "joint image and sound": float(np.mean(joint)),
        "text to written digits": precision(
            z["written_texts"], label["written_texts"], images, of_images
        ),
        "text to spoken digits": precision(
            z["spoken_texts"], label["spoken_texts"], sounds, of_sounds
        ),
        "text to clips": precision(z["natural_texts"], label["natural_texts"], sounds, of_sounds),
        "description to unseen emoji, top 10": described.recall[10],
        "written digit by name": _named(z, label, "written"),
        "spoken digit by name": _named(z, label, "spoken"),
        "clip by name": _named(z, label, "natural"),
    }


def _named(z: dict[str, Tensor], label: dict[str, Tensor], source: str) -> float:
    """Accuracy of the class whose texts' mean is the nearest."""
    item = "natural_sounds" if source == "natural" else f"{source}_digits"
    texts, of_texts = F.normalize(z[f"{source}_texts"], dim=1), label[f"{source}_texts"]
    names = of_texts.unique()
    means = torch.stack([texts[of_texts == c].mean(dim=0) for c in names])
    found = retrieval_scores(z[item], means, query_labels=label[item], item_labels=names, ks=[1])
    return found.recall[1]
