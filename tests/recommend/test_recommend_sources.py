"""Sources of interactions: every format says the same."""

from __future__ import annotations

import json
import os
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
import torch

from mmfuse.data import NpyData
from mmfuse.errors import ConfigError, DataError, MissingFileError
from mmfuse.recommend import (
    INTERACTIONS,
    CatalogueInteractions,
    InteractionArrays,
    InteractionDataset,
    InteractionSource,
    InteractionTable,
    MMRecFolder,
    RawInteractions,
    RecommendationData,
)

FRAME = pd.DataFrame(
    {
        "who": ["ann", "ann", "bob", "eve"],
        "what": [7, 9, 9, 30],
        "when": [4, 3, 2, 1],
        "stars": [5.0, 1.0, 3.5, 4.0],
        "part": ["train", "valid", "test", "train"],
    }
)
COLUMNS = {"user": "who", "item": "what", "time": "when", "rating": "stars", "split": "part"}


@pytest.fixture(autouse=True)
def no_progress_bars():
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def sources(folder: Path) -> dict[str, InteractionSource]:
    FRAME.to_csv(folder / "a.csv", index=False)
    FRAME.to_csv(folder / "a.tsv.gz", index=False, sep="\t")
    FRAME.to_parquet(folder / "a.parquet")
    datasets.Dataset.from_pandas(FRAME).save_to_disk(str(folder / "saved"))
    tables = {n: InteractionTable(str(folder / n), **COLUMNS) for n in ("a.csv", "a.tsv.gz")}
    return {
        **tables,
        "parquet": InteractionTable(str(folder / "a.parquet"), **COLUMNS),
        "saved": InteractionDataset(str(folder / "saved"), **COLUMNS),
        "arrays": InteractionArrays(**{field: FRAME[c] for field, c in COLUMNS.items()}),
        "lists": InteractionArrays(**{field: FRAME[c].tolist() for field, c in COLUMNS.items()}),
    }


def test_every_format_gives_the_same_rows(tmp_path: Path) -> None:
    for name, source in sources(tmp_path).items():
        found = source.read()
        for field, column in COLUMNS.items():
            assert getattr(found, field).tolist() == FRAME[column].tolist(), (name, field)


def test_settings_tell_the_content(tmp_path: Path) -> None:
    before = {n: s.settings() for n, s in sources(tmp_path).items()}
    assert {n: s.settings() for n, s in sources(tmp_path).items()} == before
    other = InteractionArrays(FRAME["who"], FRAME["what"] + 1).settings()
    assert other != InteractionArrays(FRAME["who"], FRAME["what"]).settings()


def test_parts_of_a_saved_set_are_its_split(tmp_path: Path) -> None:
    part = datasets.Dataset.from_pandas(FRAME[["who", "what"]])
    saved = datasets.DatasetDict({"train": part.select([0, 1]), "validation": part.select([2])})
    saved.save_to_disk(str(tmp_path / "parts"))
    found = InteractionDataset(str(tmp_path / "parts"), user="who", item="what").read()
    assert found.split.tolist() == ["train", "train", "val"]


def test_a_column_that_is_not_there_is_met_with_the_nearest(tmp_path: Path) -> None:
    for source in (
        InteractionTable(sources(tmp_path)["parquet"].path, user="whom", item="what"),
        InteractionDataset(str(tmp_path / "saved"), user="whom", item="what"),
    ):
        with pytest.raises(DataError, match=r"'whom', which is not there\. Did you mean 'who'"):
            source.read()


def test_columns_of_unequal_length_are_refused() -> None:
    with pytest.raises(DataError, match="'user': 2, 'item': 1"):
        RawInteractions(np.array([1, 2]), np.array([1]))


# The layout of MMRec.


def mmrec(folder: Path) -> Path:
    table = "userID\titemID\trating\ttimestamp\tx_label\n0\t2\t5.0\t100\t0\n0\t0\t4.0\t90\t2\n"
    (folder / "baby.inter").write_text(table + "1\t1\t3.0\t80\t0\n1\t2\t3.0\t70\t1\n")
    np.save(folder / "image_feat.npy", np.arange(6, dtype=np.float64).reshape(3, 2))
    np.save(folder / "text_feat.npy", np.ones((3, 4), np.float32))
    return folder


def test_an_mmrec_folder_has_a_split_and_features(tmp_path: Path) -> None:
    data = RecommendationData(MMRecFolder(str(mmrec(tmp_path))))
    known = data.interactions
    assert [t.tolist() for t in known.pairs("train")] == [[0, 1], [2, 1]]
    assert [t.tolist() for t in known.pairs("val")] == [[1], [2]]
    assert [t.tolist() for t in known.pairs("test")] == [[0], [0]]
    assert known.time.tolist() == [100, 90, 80, 70]
    assert list(data.spec.modalities) == ["image", "text"]
    assert data.catalogue.features()["image"].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert data.counts["time_travels"] == 2


def test_an_mmrec_folder_without_features_has_no_modalities(tmp_path: Path) -> None:
    for file in mmrec(tmp_path).glob("*.npy"):
        file.unlink()
    data = RecommendationData(MMRecFolder(str(tmp_path), "baby"))
    assert data.catalogue is None
    assert data.spec is None


def test_modalities_of_an_mmrec_folder_that_are_named_have_to_be_there(tmp_path: Path) -> None:
    folder = str(mmrec(tmp_path))
    text = RecommendationData(MMRecFolder(folder, modalities=["text"]))
    assert list(text.spec.modalities) == ["text"]
    assert "modalities" in json.dumps(text.settings())
    with pytest.raises(MissingFileError, match=r"no .*audio_feat\.npy.*'audio' out of modalities"):
        RecommendationData(MMRecFolder(folder, modalities=["text", "audio"])).setup()
    with pytest.raises(ConfigError, match=r"\['texts'\]; expected some of \['image'"):
        MMRecFolder(folder, modalities=["texts"])


def test_an_mmrec_folder_has_one_table(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"<name>\.inter"):
        MMRecFolder(str(tmp_path)).read()
    (mmrec(tmp_path) / "other.inter").write_text("userID\titemID\n")
    with pytest.raises(DataError, match=r"baby\.inter.*other\.inter.*name"):
        MMRecFolder(str(tmp_path)).read()
    (tmp_path / "baby.inter").write_text("user\titem\n1\t2\n")
    with pytest.raises(DataError, match="'userID'"):
        MMRecFolder(str(tmp_path), "baby").read()


# Named sets.


def test_an_unknown_set_is_met_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"Did you mean 'tiktok'\?"):
        CatalogueInteractions("tictok")


@pytest.mark.parametrize("name", INTERACTIONS)
def test_a_set_that_is_not_at_hand_says_where_to_get_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MMFUSE_DATA", raising=False)
    with pytest.raises(MissingFileError, match=INTERACTIONS[name].address):
        CatalogueInteractions(name).read()


@pytest.mark.data
@pytest.mark.skipif(not os.environ.get("MMFUSE_DATA"), reason="MMFUSE_DATA is not set")
class TestMirror:
    @pytest.mark.parametrize(
        ("name", "users", "items", "sizes"),
        [
            ("tiktok", 9308, 6710, (59541, 3051, 6130)),
            ("amazon_baby", 19445, 7050, (118551, 20559, 21682)),
        ],
    )
    def test_a_set_has_the_published_size(
        self, name: str, users: int, items: int, sizes: tuple[int, ...]
    ) -> None:
        known = RecommendationData(CatalogueInteractions(name)).interactions
        assert (known.user_count, known.item_count) == (users, items)
        assert tuple(known.split.bincount().tolist()) == sizes

    def test_tiktok_has_sound_and_image_of_every_item(self) -> None:
        data = RecommendationData(CatalogueInteractions("tiktok"))
        features = data.catalogue.features()
        folder = Path(os.environ["MMFUSE_DATA"]) / "tiktok"
        for m in ("audio", "image"):
            released = torch.from_numpy(np.load(folder / f"{m}.npy")).float()
            assert torch.equal(features[m], released)
        assert data.catalogue.present.all()
        assert data.counts["users_without_training"] == 10
        assert data.counts["items_without_training"] == 465

    def test_amazon_baby_is_a_5_core_already(self) -> None:
        source = CatalogueInteractions("amazon_baby")
        data = RecommendationData(source, user_core=5, item_core=5)
        assert data.counts["outside_core"] == 0
        assert data.catalogue is None


def test_features_of_items_can_be_any_data(tmp_path: Path) -> None:
    source = MMRecFolder(str(mmrec(tmp_path)))
    only = NpyData({"picture": str(tmp_path / "image_feat.npy")})
    assert list(RecommendationData(source, only).spec.modalities) == ["picture"]
