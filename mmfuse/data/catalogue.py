"""CatalogueData: named data sets, from scikit-learn or from a local mirror."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from mmfuse.data import named_sets as sets
from mmfuse.data.datamodule import FusionDataModule
from mmfuse.data.prepare import Duplicates
from mmfuse.data.source import Source
from mmfuse.errors import ConfigError, DataError, MissingFileError
from mmfuse.files import sha256

# A file with the digests of others, as sha256sum writes it.
_SUMS = "SHA256SUMS"


#: What the files of a set hold: rows, or interactions.
T = TypeVar("T")


@dataclass(frozen=True)
class Entry(Generic[T]):
    """A named data set.

    Args:
        what: one line on its modalities, rows and task.
        read: from the folder of its files to what they hold.
        licence: under which terms.
        folder: where its files lie in the mirror; empty for what scikit-learn ships.
        files: the sha256 of each file there; the files that a ``SHA256SUMS`` among them
            lists count too.
        address: where a person gets the data.
    """

    what: str
    read: Callable[[Path], T]
    licence: str
    folder: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    address: str = ""


class CatalogueData(FusionDataModule):
    """Named data sets, from scikit-learn or from the folder that MMFUSE_DATA names.

    Args:
        name: see ``CATALOGUE``.
        on_duplicates: public splits hold a few doubles, which leave the earlier split here.
        **kwargs: as ``FusionDataModule``.

    Raises:
        ConfigError: an unknown name; with the nearest matches.

    Example:
        >>> list(CatalogueData("digits_quadrants").spec.modalities)
        ['upper_left', 'upper_right', 'lower_left', 'lower_right']
    """

    def __init__(self, name: str, on_duplicates: Duplicates = "drop", **kwargs: Any) -> None:
        super().__init__(on_duplicates=on_duplicates, **kwargs)
        self._entry = name, entry_of(name, CATALOGUE)

    def read(self) -> Source:
        """Reads the data set.

        Raises:
            MissingFileError: the mirror lacks one of its files; with the address.
            DataError: a file is not the one that the catalogue knows.
        """
        return read_entry(*self._entry)


def entry_of(name: str, known: Mapping[str, Entry[T]]) -> Entry[T]:
    """The entry of that name.

    Raises:
        ConfigError: there is none; with the nearest matches.
    """
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=3)
        hint = f" Did you mean {' or '.join(map(repr, nearest))}?" if nearest else ""
        raise ConfigError(
            f"Unknown data set {name!r}.{hint} The {len(known)} that there are: docs/data.md, or "
            "mmfuse list catalogue."
        )
    return known[name]


def read_entry(name: str, entry: Entry[T]) -> T:
    """What the files of a named set hold, after each has been compared with its digest.

    Raises:
        MissingFileError: the mirror lacks one of its files; with the address.
        DataError: a file is not the one that the catalogue knows.
    """
    folder = Path(os.environ.get("MMFUSE_DATA", "")) / entry.folder
    for file, digest in _files(entry, folder):
        _check(name, entry, file, digest)
    return entry.read(folder)


def _files(entry: Entry[T], folder: Path) -> Iterator[tuple[str, str]]:
    """Every file and its digest; those that another file lists come after it."""
    yield from entry.files.items()
    if _SUMS in entry.files:
        for line in (folder / _SUMS).read_text().splitlines():
            digest, _, file = line.partition("  ")
            yield file, digest


def _check(name: str, entry: Entry[T], file: str, digest: str) -> None:
    mirror = os.environ.get("MMFUSE_DATA", "")
    path = Path(mirror) / entry.folder / file
    if not mirror or not path.is_file():
        where = f"there is no {path}" if mirror else "MMFUSE_DATA is not set"
        raise MissingFileError(
            f"Data set {name!r} is not at hand: {where}. Set MMFUSE_DATA to a folder with "
            f"{entry.folder}/{file} (sha256 {digest[:12]}...), made from {entry.address} "
            f"({entry.licence}); docs/data.md says how."
        )
    found = sha256(path)
    if found != digest:
        raise DataError(
            f"{path} has sha256 {found}, expected {digest}. The file is another version or "
            "damaged; fetch it again."
        )


_CLOTHING: dict[str, Any] = {
    "folder": "womens_clothing",
    "files": {
        "reviews.parquet": "3ddf9f5bfcb101cfa3542155753b2a7b08b3f00f0052be5ed8780feda3a3e358"
    },
    "address": "kaggle.com/datasets/nicapotato/womens-ecommerce-clothing-reviews, with the split "
    "of github.com/georgian-io/Multimodal-Toolkit",
    "licence": "CC0",
}
_AV_DIGITS: dict[str, Any] = {
    "folder": "av_digits",
    "files": {
        "fsdd_audio_int16.npz": "47a76bd62763676af2bf08c251b0459cc691c5c525f939596791c1e963b42d6e",
        "mnist_t10k.npz": "bb87fa7ccc1d97117ae4f2b54969392857de11a4d441c81a21cb46d98a851dc3",
        "pairs.csv": "3fbec6c7cb27dbc6436344919d3e18e279b685b009f62670281b1a95648e08f9",
    },
    "address": "github.com/Jakobovski/free-spoken-digit-dataset and MNIST's test images",
    "licence": "CC BY-SA 4.0, and CC BY-SA 3.0 for MNIST",
}
_ESC10: dict[str, Any] = {
    "folder": "esc10",
    "files": {
        "metadata.csv": "d00d8039bef0547179d03cef64f2d5eb38933a74351cedab40c764a2547bcf1e",
        _SUMS: "0ef685f99d0523970c6ffc13daf5a7f8b347467bec8a30e6d36ab6a8aa715ef7",
    },
    "address": "github.com/karolpiczak/ESC-10",
    "licence": "CC BY 3.0; single clips CC0, CC BY or Sampling+",
}
_SPEAKERS = ("theo", "george", "jackson", "lucas", "nicolas", "yweweler")
_FOLDS = (5, 1, 2, 3, 4)
# What each cancer's table holds, and its digest.
_TCGA = {
    "blca": (
        "373 bladder cancers (169 deaths)",
        "1893880adfc3f3b04d7bf95812574fc53355d9e086b029a8f3b968e1882369e7",
    ),
    "brca": (
        "956 breast cancers (130 deaths)",
        "71a67c085b41308dc89223db5fa86075e3ee24487811ff1eeceb761bd76ba64e",
    ),
    "gbmlgg": (
        "569 gliomas (187 deaths)",
        "5fa2fdb58453148f4849bc39e233ae5964e7d2ecc22c2424615ae36af8c0667c",
    ),
    "kirc": (
        "345 kidney cancers (92 deaths)",
        "4e35c7447fcf3149083444bc12203e8671befa7596f8421833f5fcb9dc28a1db",
    ),
}

#: Every named data set.
CATALOGUE: dict[str, Entry[Source]] = {
    "digits_quadrants": Entry(
        "1,797 handwritten digits seen as four quadrants; 10 classes; with scikit-learn",
        sets.digits_quadrants,
        "CC BY 4.0",
    ),
    "breast_cancer_blocks": Entry(
        "569 tumours in three blocks of ten measurements; 2 classes; with scikit-learn",
        sets.breast_cancer_blocks,
        "CC BY 4.0",
    ),
    "rosmap": Entry(
        "351 brains in three omics; Alzheimer's disease or not; the MOGONET split",
        sets.archive("rosmap.npz", ["mrna", "meth", "mirna"]),
        "code MIT; the cohort's data-use agreement holds for the data",
        "rosmap",
        {"rosmap.npz": "9d0bca3e4a0dbda74d312e48016d18d03d497ecc304bd892bc102c741115937a"},
        "github.com/txWang/MOGONET, folder ROSMAP",
    ),
    "handwritten": Entry(
        "2,000 handwritten digits in six views; 10 classes; the TMC split",
        sets.archive("handwritten_6views.npz", ["pix", "fou", "fac", "zer", "kar", "mor"]),
        "CC BY 4.0",
        "handwritten",
        {
            "handwritten_6views.npz": (
                "c628a65dece37e3c4d598a473da79f5a7d6d00994853eebcf3cf01c966ced92d"
            )
        },
        "archive.ics.uci.edu/dataset/72 with the split of github.com/hanmenghan/TMC",
    ),
    "womens_clothing": Entry(
        "23,486 clothing reviews: title, text, categories, numbers; recommended or not",
        sets.womens_clothing(["Age", "Positive Feedback Count", "Rating"]),
        **_CLOTHING,
    ),
    "womens_clothing_without_rating": Entry(
        "the same without the stars, which nearly give the label away",
        sets.womens_clothing(["Age", "Positive Feedback Count"]),
        **_CLOTHING,
    ),
    "av_digits": Entry(
        "3,000 spoken digits (raw sound), each with a handwritten one; 10 classes; takes 0-4 test",
        sets.av_digits(),
        **_AV_DIGITS,
    ),
    **{
        f"av_digits_speakers{f'_{s}' if s != _SPEAKERS[0] else ''}": Entry(
            f"the same; the recordings of {s} test, and another speaker's validate",
            sets.av_digits(s),
            **_AV_DIGITS,
        )
        for s in _SPEAKERS
    },
    **{
        f"esc10{f'_fold{k}' if k != _FOLDS[0] else ''}": Entry(
            f"400 clips of 10 kinds of sound (raw sound) with their titles; fold {k} tests",
            sets.esc10(k),
            **_ESC10,
        )
        for k in _FOLDS
    },
    **{
        f"tcga_{cancer}{f'_fold{k}' if k else ''}": Entry(
            f"{what}: RNA, copy numbers, mutations, age and sex; survival; fold {k} tests",
            sets.tcga(cancer, k),
            "GDC data-use terms (no re-identification); the tables' repository GPL-3.0",
            "tcga_survival",
            {f"tcga_{cancer}.parquet": digest},
            "github.com/mahmoodlab/PORPOISE, folders datasets_csv_mutsig and splits",
        )
        for cancer, (what, digest) in _TCGA.items()
        for k in range(5)
    },
    "wikipedia": Entry(
        "2,866 articles: picture (SIFT words) and text (topics) as vectors; 10 categories",
        sets.wikipedia,
        "text CC BY-SA; no licence stands with the features",
        "wikipedia",
        {"wikipedia.npz": "543d5098222fa2e4737066f6b2876b7a46f006ce43ff482989567075e492abab"},
        "github.com/ChuanbinZhang/Multi-view-datasets, Wikipedia.mat and Wikipedia-test.mat",
    ),
    "mosi_utterance": Entry(
        "2,199 utterances of 93 film reviews: text, sound and video as vectors; 2 classes",
        sets.mosi_utterance,
        "code without a licence; CMU-MOSI is for research",
        "mosi_utterance",
        {
            "features.npz": "8eaa78e1f0a6191b98e6e995db55456a46f5a2deccf3f3309a34c3811d053c23",
            "utterances.csv.gz": "ac10a123ea50805da40b8140886ca1f3c0a4ba1dfdafff35f51c10f10d7d9656",
        },
        "github.com/declare-lab/contextual-utterance-level-multimodal-sentiment-analysis, "
        "folder data",
    ),
    "openmoji": Entry(
        "1,990 emoji: picture, name and tags; 10 groups; a fifth tests",
        sets.openmoji,
        "CC BY-SA 4.0",
        "openmoji",
        {"openmoji72.parquet": "51d0011dd1b2425ec35569e8892a42d2ff060d0238fc19fe05867f7beb4849f6"},
        "github.com/axelpale/openmoji-sprites",
    ),
    "tiktok": Entry(
        "6,710 videos: sound and image as vectors; their users are mmfuse.recommend's",
        sets.arrays({"audio": "audio.npy", "image": "image.npy"}),
        "none stands with the data: benchmarking only",
        "tiktok",
        {
            "audio.npy": "d45a44a9d462f578802de914c2feea5cfd45742b2922775a085b9bdc1beba26f",
            "image.npy": "f6c1ec1726ed2aa80315411199ab2143bee6333821bf58c5f00bd3f5b462efc2",
        },
        "github.com/HKUDS/DiffMM, folder Datasets/tiktok",
    ),
}
