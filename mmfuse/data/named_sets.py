"""Named sets: how each data set of the catalogue is read from its files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
from sklearn.datasets import load_breast_cancer, load_digits

from mmfuse.data.groups import ColumnGroup, Groups
from mmfuse.data.media_values import sound_array
from mmfuse.data.modalities import to_column
from mmfuse.data.npy import NpyData
from mmfuse.data.npz import NpzData, read_npz
from mmfuse.data.source import Source, gather, gather_columns
from mmfuse.data.survival import Survival
from mmfuse.data.tables import read_table, source_from_frame
from mmfuse.spec import ModalitySpec

#: From the folder that holds a set's files to its rows.
Read = Callable[[Path], Source]


def digits_quadrants(_: Path) -> Source:
    """Scikit-learn's digits, cut in four."""
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


def breast_cancer_blocks(_: Path) -> Source:
    """Scikit-learn's breast cancer table, a modality for each block of ten columns."""
    table = load_breast_cancer()
    blocks = {"mean": slice(0, 10), "error": slice(10, 20), "worst": slice(20, 30)}
    names = np.array(["malignant", "benign"])
    return gather(
        {name: table.data[:, columns] for name, columns in blocks.items()},
        {"diagnosis": names[table.target]},
    )


def archive(file: str, modalities: list[str]) -> Read:
    """A NumPy archive with a target ``y``."""
    return lambda folder: NpzData(str(folder / file), modalities, {"y": "y"}).read()


def arrays(files: Mapping[str, str]) -> Read:
    """A NumPy file for each modality, one row a line."""
    return lambda folder: NpyData({m: str(folder / f) for m, f in files.items()}).read()


def wikipedia(folder: Path) -> Source:
    """Pictures of articles as histograms, and their texts as shares of topics."""
    found = read_npz(folder / "wikipedia.npz")
    keys = {"image": "image_sift128", "text": "text_lda10"}
    parts = {m: [found[f"{key}_{part}"] for part in ("train", "test")] for m, key in keys.items()}
    sizes = [len(part) for part in parts["image"]]
    classes = found["classes"][np.concatenate([found["y_train"], found["y_test"]])]
    return gather(
        {m: np.concatenate(arrays) for m, arrays in parts.items()},
        {"category": classes},
        split=np.repeat(["train", "test"], sizes),
    )


def womens_clothing(numbers: list[str]) -> Read:
    """Reviews, with these columns of numbers."""
    categories = ["Division Name", "Department Name", "Class Name"]
    groups: Groups = {
        "title": ColumnGroup("Title", kind="text"),
        "review": ColumnGroup("Review Text", kind="text"),
        "categories": categories,
        "numbers": numbers,
    }

    def read(folder: Path) -> Source:
        frame = read_table(folder / "reviews.parquet")
        return source_from_frame(frame, groups, {"recommended": "Recommended IND"}, split="split")

    return read


def av_digits(speaker: str | None = None) -> Read:
    """Spoken and written digits, paired by digit.

    Args:
        speaker: whose recordings test; validation rows are then another speaker's. None for
            the split of the recordings' authors.
    """

    def read(folder: Path) -> Source:
        pairs = read_table(folder / "pairs.csv")
        audio = read_npz(folder / "fsdd_audio_int16.npz")["audio"]
        ends = (pairs["offset"] + pairs["length"]).to_numpy()
        sounds = [audio[None, a:b] for a, b in zip(pairs["offset"], ends, strict=True)]
        images = read_npz(folder / "mnist_t10k.npz")["image"][pairs["mnist_index"], None]
        columns = {
            "sound": (
                pa.chunked_array([sound_array(sounds, [8000] * len(sounds))]),
                ModalitySpec("audio", rate=8000),
            ),
            "image": to_column("image", images),
        }
        is_test = pairs["fsdd_split"] == "test" if speaker is None else pairs["speaker"] == speaker
        return gather_columns(
            columns,
            {"digit": pairs["label"]},
            split=np.where(is_test, "test", "train"),
            groups=None if speaker is None else pairs["speaker"],
        )

    return read


def esc10(fold: int) -> Read:
    """Environmental sounds with their titles; clips of one recording stay together.

    Args:
        fold: which of the five folds tests.
    """
    groups: Groups = {
        "sound": ColumnGroup("path", kind="audio", rate=44_100),
        "title": ColumnGroup("title", kind="text"),
    }

    def read(folder: Path) -> Source:
        frame = read_table(folder / "metadata.csv")
        frame = frame.assign(
            path="ogg/" + frame["file"],
            split=np.where(frame["fold"] == fold, "test", "train"),
            # <fold>-<Freesound's number of the recording>-<clip>.ogg
            recording=frame["file"].str.split("-").str[1],
        )
        return source_from_frame(
            frame, groups, "class", split="split", groups="recording", root=folder
        )

    return read


def tcga(cancer: str, fold: int) -> Read:
    """Gene expression, copy numbers, mutations and age and sex of patients; their survival.

    Expression is clipped to 10 deviations either side, as single values reach thousands. The
    subtype is left out: among gliomas it gives the grade away.

    Args:
        cancer: which of the tables.
        fold: which of the five folds tests.
    """

    def read(folder: Path) -> Source:
        frame = read_table(folder / f"tcga_{cancer}.parquet")
        vectors = {
            m: frame[[c for c in frame.columns if c.endswith(f"_{m}")]].to_numpy(np.float32)
            for m in ("rnaseq", "cnv", "mut")
        }
        vectors["rnaseq"] = vectors["rnaseq"].clip(-10, 10)
        # A category, as one patient's sex is not known.
        clinical = to_column("clinical", frame[["age", "is_female"]], categorical=["is_female"])
        return gather_columns(
            {m: to_column(m, v) for m, v in vectors.items()} | {"clinical": clinical},
            {"os": Survival(frame["survival_months"], censored=frame["censorship"])},
            split=np.where(frame["fold"] == fold, "test", "train"),
        )

    return read


def mosi_utterance(folder: Path) -> Source:
    """Utterances of film reviews as three vectors; those of one video stay together."""
    frame = read_table(folder / "utterances.csv.gz")
    arrays = read_npz(folder / "features.npz")
    keys = {"text": "text_cnn", "audio": "audio_opensmile", "video": "video_3dcnn"}
    names = np.array(["negative", "positive"])
    return gather(
        {m: arrays[key] for m, key in keys.items()},
        {"sentiment": names[frame["y"]]},
        split=frame["split"],
        groups=frame["video"],
    )


def openmoji(folder: Path) -> Source:
    """Emoji without skin tones, with a description of name and tags; a fifth tests.

    The pictures whose digests come first test, a fifth of all, so that a picture that several
    emoji share (flags, mostly) is in one part.
    """
    frame = read_table(folder / "openmoji72.parquet")
    frame = frame[frame["skintone"] == ""].reset_index(drop=True)
    digests = np.array([hashlib.sha256(png).hexdigest() for png in frame["png"]])
    distinct = np.unique(digests)
    tags = frame["annotation"].where(
        frame["tags"] == "", frame["annotation"] + ": " + frame["tags"]
    )
    frame = frame.assign(
        description=tags,
        picture=digests,
        split=np.where(digests < distinct[len(distinct) // 5], "test", "train"),
    )
    groups: Groups = {
        "picture": ColumnGroup("png", kind="image"),
        "description": ColumnGroup("description", kind="text"),
    }
    return source_from_frame(frame, groups, "group", split="split", groups="picture")
