"""CSV and Parquet files: a group of columns for each modality."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmfuse.data import TableData
from mmfuse.data.groups import ColumnGroup
from mmfuse.errors import ConfigError, DataError, MissingFileError
from mmfuse.recorded import rebuild

ROWS = 6
FRAME = pd.DataFrame(
    {
        "gene_1": [0.5, 1.5, None, 3.5, 4.5, 5.5],
        "gene_2": [1.0, 2.0, None, 4.0, 5.0, 7.0],
        "age": [31.0, 42.0, 53.0, None, 75.0, 86.0],
        "town": ["Ulm", "Bern", "Ulm", None, None, "Bern"],
        "note": ["well", None, "ill", "worse", "well again", None],
        "label": ["no", "yes", "no", "yes", "no", "yes"],
        "part": ["train", "train", "train", "train", "val", "test"],
    }
)
MODALITIES = {
    "genes": "gene_*",
    "person": ["age", "town"],
    "note": ColumnGroup("note", kind="text"),
}


def write(folder: Path, suffix: str, frame: pd.DataFrame = FRAME) -> str:
    path = folder / f"rows{suffix}"
    if suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if suffix.startswith(".tsv") else ",")
    return str(path)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet"])
def test_every_format_gives_the_same_batch(tmp_path: Path, suffix: str) -> None:
    data = TableData(write(tmp_path, suffix), MODALITIES, "label", split="part")
    batch = data.dataset("train").__getitems__(range(ROWS))
    assert batch.present.tolist() == [
        [True, True, True],
        [True, True, False],
        [False, True, True],
        [True, False, True],
        [True, True, True],
        [True, True, False],
    ]
    assert batch.inputs["genes"][[0, 5]].tolist() == [[0.5, 1.0], [5.5, 7.0]]
    assert batch.inputs["person"][[0, 1, 4]].tolist() == [[31, 2], [42, 1], [75, 0]]
    assert batch.target["label"].tolist() == [0, 1] * 3
    assert data.rows("train").tolist() == [0, 1, 2, 3]
    assert data.spec.modalities["genes"].columns == ("gene_1", "gene_2")
    assert data.spec.modalities["person"].levels == (("Bern", "Ulm"),)


def test_a_row_with_one_empty_cell_is_present_and_needs_a_filling(tmp_path: Path) -> None:
    frame = FRAME.assign(gene_2=[1.0, None, None, 4.0, 5.0, 7.0])
    path = write(tmp_path, ".csv", frame)
    with pytest.raises(DataError, match=r"'genes': row 1.*'gene_2'.*missing_cells"):
        TableData(path, MODALITIES, "label", split="part").setup()
    data = TableData(path, MODALITIES, "label", split="part", missing_cells="mean")
    shown = data.dataset("train").__getitems__([1]).inputs["genes"]
    assert shown.tolist() == [[1.5, 2.5]]  # the mean of 1 and 4, which train


def test_a_parquet_column_of_lists_holds_vectors_or_series(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "vector": [[1.0, 2.0], None, [3.0, 4.0], [5.0, 6.0]],
            "walk": [[[1.0, 2.0]], [[1.0, 2.0], [3.0, 4.0]], None, [[5.0, 6.0]]],
        }
    )
    path = write(tmp_path, ".parquet", frame)
    data = TableData(path, {"vector": "vector", "walk": "walk"}, val=0, test=0.25)
    found = data.spec.modalities
    assert (found["vector"].kind, found["vector"].shape) == ("vector", (2,))
    assert (found["walk"].kind, found["walk"].shape) == ("series", (None, 2))
    batch = data.dataset("train").__getitems__([0, 1, 2, 3])
    assert batch.present.tolist() == [[True, True], [False, True], [True, False], [True, True]]
    assert batch.inputs["walk"].mask.sum(1).tolist() == [1, 2, 0, 1]


def test_several_columns_make_one_target(tmp_path: Path) -> None:
    frame = FRAME.assign(old=[0, 1] * 3, new=[1, 1, 0] * 2)
    data = TableData(
        write(tmp_path, ".csv", frame), MODALITIES, {"tags": ["old", "new"]}, split="part"
    )
    assert data.spec.targets["tags"].kind == "multilabel"
    assert data.spec.targets["tags"].classes == ("old", "new")


def test_a_column_gives_the_groups(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": np.arange(40.0), "who": np.repeat(np.arange(10), 4)})
    data = TableData(write(tmp_path, ".csv", frame), {"x": "x"}, groups="who")
    homes = [set(frame["who"][data.rows(name).numpy()]) for name in ("train", "val", "test")]
    assert sum(map(len, homes)) == 10


def test_a_mapping_is_a_group_too(tmp_path: Path) -> None:
    modalities = {"note": {"columns": "note", "kind": "text"}, "genes": "gene_*"}
    data = TableData(write(tmp_path, ".csv"), modalities, split="part")
    assert data.spec.modalities["note"].kind == "text"


# What is refused.


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"nowhere\.csv"):
        TableData(str(tmp_path / "nowhere.csv"), MODALITIES).setup()


def test_an_unknown_suffix_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.xlsx").write_text("")
    with pytest.raises(ConfigError, match=r"neither \.csv, \.tsv nor \.parquet"):
        TableData(str(tmp_path / "rows.xlsx"), MODALITIES).setup()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.csv", b""),
        ("ragged.csv", b'a,b\n1,2\n1,2,3,4\n"'),
        ("bytes.csv", bytes(range(128, 256)) * 4),
        ("words.parquet", b"PAR1 this is no Parquet file PAR1"),
        ("empty.parquet", b""),
    ],
)
def test_a_corrupt_file_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name} cannot be read.*whole"):
        TableData(str(tmp_path / name), MODALITIES).setup()


def test_damaged_bytes_never_raise_a_stranger(tmp_path: Path) -> None:
    whole = Path(write(tmp_path, ".parquet")).read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        path = tmp_path / "damaged.parquet"
        path.write_bytes(damaged)
        try:
            TableData(str(path), MODALITIES, "label", split="part").read()
        except DataError:
            refused += 1
    assert refused > 10


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"modalities": {"genes": "gene_x*"}}, "Modality 'genes' names column 'gene_x*'"),
        ({"modalities": {"a": "agee"}}, "Did you mean 'age'?"),
        ({"targets": "outcome"}, "Target 'outcome' names column 'outcome'"),
        ({"split": "fold"}, "split names column 'fold'"),
        ({"groups": "patient"}, "groups names column 'patient'"),
    ],
)
def test_a_missing_column_is_named(tmp_path: Path, options: dict, said: str) -> None:
    given = {"modalities": MODALITIES, **options}
    with pytest.raises(DataError) as caught:
        TableData(write(tmp_path, ".csv"), **given).setup()
    assert said in str(caught.value)
    assert "gene_1" in str(caught.value)


def test_text_is_one_column(tmp_path: Path) -> None:
    group = ColumnGroup(["note", "town"], kind="text")
    with pytest.raises(ConfigError, match="'words' is text and names 2 columns"):
        TableData(write(tmp_path, ".csv"), {"words": group}).setup()


def test_lists_do_not_mix_with_other_columns(tmp_path: Path) -> None:
    frame = pd.DataFrame({"age": [1.0, 2.0], "vector": [[1.0], [2.0]]})
    with pytest.raises(ConfigError, match=r"'a' joins \['vector'\]"):
        TableData(write(tmp_path, ".parquet", frame), {"a": ["age", "vector"]}).setup()


def test_an_empty_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="one row"):
        TableData(write(tmp_path, ".csv", FRAME.iloc[:0]), MODALITIES, "label").setup()


def test_the_record_holds_a_group_of_columns_in_plain_data(tmp_path: Path) -> None:
    data = TableData(write(tmp_path, ".csv"), MODALITIES, "label", split="part")
    recorded = json.loads(json.dumps(data.settings()))["init_args"]["modalities"]["note"]
    group = rebuild(recorded)
    assert (group.columns, group.kind, list(group.categorical)) == ("note", "text", [])


def test_the_settings_tell_other_content_at_the_same_place(tmp_path: Path) -> None:
    data = TableData(write(tmp_path, ".csv"), MODALITIES, "label", split="part")
    first = data.settings()
    assert first == data.settings()
    write(tmp_path, ".csv", FRAME.assign(gene_1=1.0))
    assert first != data.settings()
