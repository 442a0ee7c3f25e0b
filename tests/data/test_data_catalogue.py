"""The catalogue: named data sets are what they say, and say where they come from."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits

from mmfuse.data import CATALOGUE, CatalogueData
from mmfuse.data.catalogue import Entry
from mmfuse.data.npz import read_npz
from mmfuse.data.source import gather
from mmfuse.errors import ConfigError, DataError, MissingFileError
from mmfuse.media import decode_sound
from mmfuse.spec import ModalitySpec

MIRRORED = [name for name, entry in CATALOGUE.items() if entry.files]


def sizes(data: CatalogueData) -> tuple[int, ...]:
    return tuple(len(data.rows(split)) for split in ("train", "val", "test"))


def test_digits_are_four_quadrants_of_one_image() -> None:
    data = CatalogueData("digits_quadrants")
    assert {m: s.shape for m, s in data.spec.modalities.items()} == {
        "upper_left": (16,),
        "upper_right": (16,),
        "lower_left": (16,),
        "lower_right": (16,),
    }
    assert data.spec.targets["digit"].classes == tuple("0123456789")
    assert sum(sizes(data)) == 1797


def test_quadrants_make_up_the_digit_again() -> None:
    batch = CatalogueData("digits_quadrants").dataset("train").__getitems__([3, 1000])
    quadrants = [batch.inputs[m].view(2, 4, 4) for m in batch.modalities]
    upper, lower = (torch.cat(quadrants[i : i + 2], dim=2) for i in (0, 2))
    expected = torch.from_numpy(load_digits().images[[3, 1000]]).float()
    assert torch.equal(torch.cat([upper, lower], dim=1), expected)


def test_breast_cancer_has_three_blocks_of_ten() -> None:
    data = CatalogueData("breast_cancer_blocks")
    assert {m: s.shape for m, s in data.spec.modalities.items()} == {
        "mean": (10,),
        "error": (10,),
        "worst": (10,),
    }
    assert data.spec.targets["diagnosis"].classes == ("benign", "malignant")
    assert sum(sizes(data)) == 569
    labels = data.dataset("train").__getitems__(range(569)).target["diagnosis"]
    assert labels.bincount().tolist() == [357, 212]


def test_every_entry_says_what_it_is_and_under_which_terms() -> None:
    for entry in CATALOGUE.values():
        assert entry.what
        assert entry.licence
        if entry.files:
            assert all(len(digest) == 64 for digest in entry.files.values())
            assert entry.folder
            assert entry.address


# What is refused.


def test_an_unknown_name_is_met_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"Did you mean 'rosmap'\? .*mmfuse list catalogue"):
        CatalogueData("rosmaps")


@pytest.mark.parametrize("name", MIRRORED)
def test_a_set_that_is_not_at_hand_says_where_to_get_it(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MMFUSE_DATA", raising=False)
    with pytest.raises(MissingFileError) as caught:
        CatalogueData(name).setup()
    entry = CATALOGUE[name]
    first = f"{entry.folder}/{next(iter(entry.files))}"
    for part in (name, "MMFUSE_DATA is not set", first, entry.address):
        assert part in str(caught.value)
    monkeypatch.setenv("MMFUSE_DATA", str(tmp_path))
    with pytest.raises(MissingFileError, match=f"there is no {tmp_path}"):
        CatalogueData(name).setup()


def test_a_file_of_another_content_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "rosmap").mkdir()
    (tmp_path / "rosmap" / "rosmap.npz").write_bytes(b"another version")
    monkeypatch.setenv("MMFUSE_DATA", str(tmp_path))
    found = hashlib.sha256(b"another version").hexdigest()
    with pytest.raises(
        DataError, match=f"{found}, expected {CATALOGUE['rosmap'].files['rosmap.npz']}"
    ):
        CatalogueData("rosmap").setup()


def test_files_that_another_file_lists_are_checked_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.ogg").write_bytes(b"a sound")
    digest = hashlib.sha256(b"a sound").hexdigest()
    sums = f"{digest}  a.ogg\n{digest}  b.ogg\n"
    (tmp_path / "set" / "SHA256SUMS").write_text(sums)
    listed = hashlib.sha256(sums.encode()).hexdigest()
    entry = Entry(
        "a set", lambda folder: gather({"a": [[1.0]]}), "CC0", "set", {"SHA256SUMS": listed}
    )
    monkeypatch.setitem(CATALOGUE, "listed", entry)
    monkeypatch.setenv("MMFUSE_DATA", str(tmp_path))
    with pytest.raises(MissingFileError, match=r"there is no .*b\.ogg"):
        CatalogueData("listed").read()
    (tmp_path / "set" / "b.ogg").write_bytes(b"another")
    with pytest.raises(DataError, match=r"b\.ogg has sha256"):
        CatalogueData("listed").read()
    (tmp_path / "set" / "b.ogg").write_bytes(b"a sound")
    assert len(CatalogueData("listed").read().data) == 1


# Sets of the mirror, against the numbers that their sources publish.


@pytest.mark.data
@pytest.mark.skipif(not os.environ.get("MMFUSE_DATA"), reason="MMFUSE_DATA is not set")
class TestMirror:
    def test_rosmap_is_the_mogonet_split(self) -> None:
        data = CatalogueData("rosmap", val=0)
        assert sizes(data) == (245, 0, 106)
        assert {m: s.shape for m, s in data.spec.modalities.items()} == {
            "mrna": (200,),
            "meth": (200,),
            "mirna": (200,),
        }
        for split, counts in (("train", [118, 127]), ("test", [51, 55])):
            labels = data.dataset(split).__getitems__(data.rows(split)).target["y"]
            assert labels.bincount().tolist() == counts
        assert data.dataset("train").present.all()

    def test_handwritten_is_the_tmc_split(self) -> None:
        assert sizes(CatalogueData("handwritten", val=0, on_duplicates="allow")) == (1600, 0, 400)
        data = CatalogueData("handwritten", val=0)
        assert sizes(data) == (1599, 0, 400)  # one digit is in both
        assert {m: s.width for m, s in data.spec.modalities.items()} == {
            "pix": 240,
            "fou": 76,
            "fac": 216,
            "zer": 47,
            "kar": 64,
            "mor": 6,
        }
        labels = data.dataset("test").__getitems__(data.rows("test")).target["y"]
        assert labels.bincount().tolist() == [40] * 10

    def test_womens_clothing_keeps_its_natural_gaps(self) -> None:
        data = CatalogueData("womens_clothing", on_duplicates="allow")
        assert sizes(data) == (18788, 2349, 2349)
        absent = (~data.dataset("train").present).sum(0).tolist()
        gaps = dict(zip(data.spec.modalities, absent, strict=True))
        assert gaps == {"title": 3810, "review": 845, "categories": 14, "numbers": 0}
        assert data.spec.modalities["categories"].columns == (
            "Division Name",
            "Department Name",
            "Class Name",
        )
        labels = data.dataset("train").__getitems__(range(23486)).target["recommended"]
        assert labels.float().mean().item() == pytest.approx(0.82, abs=0.005)

    @pytest.mark.parametrize(
        ("cancer", "patients", "deaths", "widths"),
        [
            ("blca", 373, 169, (1554, 256, 371, 2)),
            ("brca", 956, 130, (1558, 1333, 21, 2)),
            ("gbmlgg", 569, 187, (1544, 30, 16, 2)),
            ("kirc", 345, 92, (1556, 937, 10, 2)),
        ],
    )
    def test_each_cancer_has_its_patients_and_deaths(
        self, cancer: str, patients: int, deaths: int, widths: tuple[int, ...]
    ) -> None:
        data = CatalogueData(f"tcga_{cancer}", on_duplicates="allow")
        assert tuple(s.width for s in data.spec.modalities.values()) == widths
        assert list(data.spec.modalities) == ["rnaseq", "cnv", "mut", "clinical"]
        assert data.spec.modalities["clinical"].columns == ("age", "is_female")
        assert sum(sizes(data)) == patients
        batch = data.dataset("train").__getitems__(range(patients))
        assert batch.target["os"][:, 1].sum() == deaths
        assert batch.inputs["rnaseq"].abs().max() <= 10
        assert batch.present.all()

    def test_each_patient_is_tested_in_one_fold(self) -> None:
        names = ["tcga_kirc", *(f"tcga_kirc_fold{k}" for k in range(1, 5))]
        rows = [CatalogueData(n, on_duplicates="allow").rows("test").tolist() for n in names]
        assert sorted(row for part in rows for row in part) == list(range(345))

    def test_doubles_leave_the_training_rows(self) -> None:
        every = CatalogueData("womens_clothing", on_duplicates="allow")
        data = CatalogueData("womens_clothing")
        assert len(data.rows("test")) == len(every.rows("test"))
        # Reviews without a text, for the most part, and alike in all else.
        assert len(every.rows("train")) - len(data.rows("train")) == 97

    def test_stars_can_be_left_out(self) -> None:
        columns = [
            CatalogueData(name).spec.modalities["numbers"].columns
            for name in ("womens_clothing", "womens_clothing_without_rating")
        ]
        assert [c for c in columns[0] if c not in columns[1]] == ["Rating"]

    def test_spoken_and_written_digits_are_of_one_class(self) -> None:
        data = CatalogueData("av_digits", val=0)
        assert sizes(data) == (2700, 0, 300)
        sound, image = data.spec.modalities["sound"], data.spec.modalities["image"]
        assert (sound.kind, sound.shape, sound.rate) == ("audio", (), 8000)
        assert (image.kind, image.shape) == ("image", (1, 28, 28))
        whole = data.dataset("test")
        assert whole.targets["digit"].bincount().tolist() == [300] * 10
        folder = Path(os.environ["MMFUSE_DATA"]) / "av_digits"
        pairs = pd.read_csv(folder / "pairs.csv")
        written = read_npz(folder / "mnist_t10k.npz")["label"]
        assert np.array_equal(written[pairs["mnist_index"]], whole.targets["digit"])
        row = int(np.flatnonzero(pairs["rec"] == "7_theo_0")[0])
        wav = decode_sound(folder / "wav_samples" / "7_theo_0.wav")
        (found,) = whole.columns["sound"].take(np.array([row]))
        assert np.array_equal(found.samples, wav.samples)
        assert found.rate == wav.rate
        assert row in data.rows("test")

    @pytest.mark.parametrize("speaker", ["theo", "george"])
    def test_a_speaker_is_in_one_part(self, speaker: str) -> None:
        name = "av_digits_speakers" + ("" if speaker == "theo" else f"_{speaker}")
        data = CatalogueData(name)
        pairs = pd.read_csv(Path(os.environ["MMFUSE_DATA"]) / "av_digits" / "pairs.csv")
        who = {s: set(pairs["speaker"][data.rows(s).numpy()]) for s in ("train", "val", "test")}
        assert who["test"] == {speaker}
        assert [len(who[s]) for s in ("train", "val")] == [4, 1]
        assert not who["train"] & who["val"]

    @pytest.mark.parametrize(("name", "fold"), [("esc10", 5), ("esc10_fold2", 2)])
    def test_esc10_tests_a_fold(self, name: str, fold: int) -> None:
        data = CatalogueData(name)
        assert sum(sizes(data)) == 400
        frame = pd.read_csv(Path(os.environ["MMFUSE_DATA"]) / "esc10" / "metadata.csv")
        assert set(frame["fold"][data.rows("test").numpy()]) == {fold}
        recordings = frame["file"].str.split("-").str[1]
        homes = [set(recordings[data.rows(s).numpy()]) for s in ("train", "val", "test")]
        assert len(set.union(*homes)) == sum(map(len, homes))
        whole = data.dataset("test")
        (first,) = whole.columns["sound"].take(data.rows("test").numpy()[:1])
        assert first.rate == 44_100
        assert 3 < first.seconds < 8
        assert len(data.spec.targets["class"].classes) == 10

    def test_an_utterance_is_three_vectors_and_its_video_in_one_part(self) -> None:
        assert sizes(CatalogueData("mosi_utterance", val=0)) == (1447, 0, 752)
        data = CatalogueData("mosi_utterance")
        assert {m: s.shape for m, s in data.spec.modalities.items()} == {
            "text": (100,),
            "audio": (73,),
            "video": (100,),
        }
        folder = Path(os.environ["MMFUSE_DATA"]) / "mosi_utterance"
        frame = pd.read_csv(folder / "utterances.csv.gz")
        videos = [set(frame["video"][data.rows(s).numpy()]) for s in ("train", "val", "test")]
        assert len(set.union(*videos)) == sum(map(len, videos)) == 93
        assert len(videos[2]) == 31
        assert data.spec.targets["sentiment"].classes == ("negative", "positive")
        labels = data.dataset("test").targets["sentiment"]
        assert labels.tolist() == frame["y"].tolist()

    def test_wikipedia_is_the_official_split(self) -> None:
        assert sizes(CatalogueData("wikipedia", val=0, on_duplicates="allow")) == (2173, 0, 693)
        data = CatalogueData("wikipedia", val=0)
        assert {m: s.width for m, s in data.spec.modalities.items()} == {"image": 128, "text": 10}
        assert data.spec.targets["category"].classes[:3] == ("art", "biology", "geography")

    def test_openmoji_has_pictures_and_descriptions(self) -> None:
        data = CatalogueData("openmoji", val=0)
        assert sizes(data) == (1590, 0, 400)
        assert data.spec.modalities["picture"] == ModalitySpec("image")
        columns = data.dataset("test").columns
        assert columns["description"].take(np.array([0])) == [
            "jack-o-lantern: celebration, halloween, jack, lantern"
        ]
        pictures = columns["picture"].take(np.arange(20))
        assert {(p.mode, p.size) for p in pictures} == {("RGB", (72, 72))}
        assert len(data.spec.targets["group"].classes) == 10
        shown = [
            {columns["picture"].content(int(r)) for r in data.rows(s)} for s in ("train", "test")
        ]
        assert not shown[0] & shown[1]
