"""CatalogueData: named data sets, from scikit-learn or from a local mirror."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits

from mmfuse.data.datamodule import FusionDataModule
from mmfuse.data.groups import ColumnGroup, Groups
from mmfuse.data.npz import NpzData
from mmfuse.data.prepare import Duplicates
from mmfuse.data.source import Source, gather
from mmfuse.data.tables import read_table, source_from_frame
from mmfuse.errors import ConfigError, DataError, MissingFileError
from mmfuse.files import sha256


@dataclass(frozen=True)
class Entry:
    """A named data set.

    Args:
        what: one line on its modalities, rows and task.
        read: from its file (None for what scikit-learn ships) to a source.
        file: where it lies in the mirror; empty for what scikit-learn ships.
        sha256: of the file.
        address: where a person gets the data.
        licence: under which terms.
    """

    what: str
    read: Callable[[Path], Source]
    file: str = ""
    sha256: str = ""
    address: str = ""
    licence: str = ""


class CatalogueData(FusionDataModule):
    """Named data sets, from scikit-learn or from the folder that MMFUSE_DATA names.

    Args:
        name: see ``CATALOGUE``.
        on_duplicates: public splits hold a few doubles, which leave the earlier split here.
        **kwargs: as ``FusionDataModule``.

    Raises:
        ConfigError: an unknown name; with the nearest match.

    Example:
        >>> list(CatalogueData("digits_quadrants").spec.modalities)
        ['upper_left', 'upper_right', 'lower_left', 'lower_right']
    """

    def __init__(self, name: str, on_duplicates: Duplicates = "drop", **kwargs: Any) -> None:
        super().__init__(on_duplicates=on_duplicates, **kwargs)
        if name not in CATALOGUE:
            nearest = difflib.get_close_matches(name, CATALOGUE, n=1)
            hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
            raise ConfigError(f"Unknown data set {name!r}.{hint} Known: {', '.join(CATALOGUE)}.")
        self._entry = name, CATALOGUE[name]

    def read(self) -> Source:
        """Reads the data set.

        Raises:
            MissingFileError: the mirror lacks it; with the address.
            DataError: the file is not the one that the catalogue knows.
        """
        name, entry = self._entry
        return entry.read(_found(name, entry) if entry.file else Path())


def _found(name: str, entry: Entry) -> Path:
    mirror = os.environ.get("MMFUSE_DATA", "")
    path = Path(mirror) / entry.file
    if not mirror or not path.is_file():
        where = f"there is no {path}" if mirror else "MMFUSE_DATA is not set"
        raise MissingFileError(
            f"Data set {name!r} is not at hand: {where}. Set MMFUSE_DATA to a folder with "
            f"{entry.file} (sha256 {entry.sha256[:12]}...), made from {entry.address} "
            f"({entry.licence}); docs/data.md says how."
        )
    found = sha256(path)
    if found != entry.sha256:
        raise DataError(
            f"{path} has sha256 {found}, expected {entry.sha256}. The file is another version or "
            "damaged; fetch it again."
        )
    return path


def _digits_quadrants(_: Path) -> Source:
    digits = load_digits()
    images = digits.images.astype(np.float32)
    halves = {"upper": slice(0, 4), "lower": slice(4, 8)}
    sides = {"left": slice(0, 4), "right": slice(4, 8)}
    quadrants = {
        f"{half}_{side}": images[:, rows, columns].reshape(len(images), -1)
        for half, rows in halves.items()
        for side, columns in sides.items()
    }
    return gather(quadrants, {"digit": digits.target})


def _breast_cancer_blocks(_: Path) -> Source:
    table = load_breast_cancer()
    blocks = {"mean": slice(0, 10), "error": slice(10, 20), "worst": slice(20, 30)}
    names = np.array(["malignant", "benign"])
    return gather(
        {name: table.data[:, columns] for name, columns in blocks.items()},
        {"diagnosis": names[table.target]},
    )


def _archive(modalities: list[str]) -> Callable[[Path], Source]:
    return lambda path: NpzData(str(path), modalities, {"y": "y"}).read()


def _womens_clothing(numbers: list[str]) -> Callable[[Path], Source]:
    categories = ["Division Name", "Department Name", "Class Name"]
    groups: Groups = {
        "title": ColumnGroup("Title", kind="text"),
        "review": ColumnGroup("Review Text", kind="text"),
        "categories": categories,
        "numbers": numbers,
    }

    def read(path: Path) -> Source:
        frame = read_table(path)
        return source_from_frame(frame, groups, {"recommended": "Recommended IND"}, split="split")

    return read


_CLOTHING = {
    "file": "womens_clothing/reviews.parquet",
    "sha256": "3ddf9f5bfcb101cfa3542155753b2a7b08b3f00f0052be5ed8780feda3a3e358",
    "address": "kaggle.com/datasets/nicapotato/womens-ecommerce-clothing-reviews, with the split "
    "of github.com/georgian-io/Multimodal-Toolkit",
    "licence": "CC0",
}

#: Every named data set.
CATALOGUE: dict[str, Entry] = {
    "digits_quadrants": Entry(
        "1,797 handwritten digits seen as four quadrants; 10 classes; with scikit-learn",
        _digits_quadrants,
        licence="CC BY 4.0",
    ),
    "breast_cancer_blocks": Entry(
        "569 tumours in three blocks of ten measurements; 2 classes; with scikit-learn",
        _breast_cancer_blocks,
        licence="CC BY 4.0",
    ),
    "rosmap": Entry(
        "351 brains in three omics; Alzheimer's disease or not; the MOGONET split",
        _archive(["mrna", "meth", "mirna"]),
        "rosmap/rosmap.npz",
        "9d0bca3e4a0dbda74d312e48016d18d03d497ecc304bd892bc102c741115937a",
        "github.com/txWang/MOGONET, folder ROSMAP",
        "code MIT; the cohort's data-use agreement holds for the data",
    ),
    "handwritten": Entry(
        "2,000 handwritten digits in six views; 10 classes; the TMC split",
        _archive(["pix", "fou", "fac", "zer", "kar", "mor"]),
        "handwritten/handwritten_6views.npz",
        "c628a65dece37e3c4d598a473da79f5a7d6d00994853eebcf3cf01c966ced92d",
        "archive.ics.uci.edu/dataset/72 with the split of github.com/hanmenghan/TMC",
        "CC BY 4.0",
    ),
    "womens_clothing": Entry(
        "23,486 clothing reviews: title, text, categories, numbers; recommended or not",
        _womens_clothing(["Age", "Positive Feedback Count", "Rating"]),
        **_CLOTHING,
    ),
    "womens_clothing_without_rating": Entry(
        "the same without the stars, which nearly give the label away",
        _womens_clothing(["Age", "Positive Feedback Count"]),
        **_CLOTHING,
    ),
}
