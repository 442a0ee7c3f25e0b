"""CatalogueInteractions: named sets of interactions, from a local mirror."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mmfuse.data import CATALOGUE, CatalogueData, FusionDataModule
from mmfuse.data.catalogue import Entry, entry_of, read_entry
from mmfuse.data.tables import read_table
from mmfuse.recommend.sources.base import InteractionSource, RawInteractions


def _table(file: str) -> Callable[[Path], RawInteractions]:
    columns = {"user": "user", "item": "item", "split": "split"}
    return lambda folder: RawInteractions.of_frame(read_table(folder / file), columns)


#: Every named set of interactions.
INTERACTIONS: dict[str, Entry[RawInteractions]] = {
    "tiktok": Entry(
        "68,722 views of 6,710 videos by 9,308 users, with a split; items have sound and image",
        _table("interactions.parquet"),
        "none stands with the data: benchmarking only",
        "tiktok",
        {
            "interactions.parquet": (
                "9816e939478721905984adcc8b587176ba712d763ab9843106c503be6586988e"
            )
        },
        "github.com/HKUDS/DiffMM, folder Datasets/tiktok",
    ),
    "amazon_baby": Entry(
        "160,792 reviews of 7,050 products by 19,445 users, five each at least, with a split",
        _table("interactions.parquet"),
        "none stands with the data: benchmarking only",
        "amazon_baby",
        {
            "interactions.parquet": (
                "e0fb2010d4aa1803e65ca217379a7782a668d90002baa8e9463225831d320072"
            )
        },
        "github.com/MrShouxingMa/REARM, folder data/baby",
    ),
}


class CatalogueInteractions(InteractionSource):
    """Named sets of interactions, from the folder that MMFUSE_DATA names.

    Items have the modalities of the set of the same name in ``mmfuse.data.CATALOGUE``, where
    there is one.

    Args:
        name: see ``INTERACTIONS``.

    Raises:
        ConfigError: an unknown name; with the nearest match.
    """

    def __init__(self, name: str) -> None:
        self.name, self._entry = name, entry_of(name, INTERACTIONS)

    def read(self) -> RawInteractions:
        """Reads the set.

        Raises:
            MissingFileError: the mirror lacks one of its files; with the address.
            DataError: a file is not the one that the catalogue knows.
        """
        return read_entry(self.name, self._entry)

    def items(self) -> FusionDataModule | None:
        """The items' features, where the set has any."""
        return CatalogueData(self.name) if self.name in CATALOGUE else None
