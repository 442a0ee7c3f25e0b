"""Data: arrays, tables, files and named data sets -> batches with a mask of who is there."""

from mmfuse.data.arrays import ArrayData
from mmfuse.data.catalogue import CATALOGUE, CatalogueData
from mmfuse.data.datamodule import FusionDataModule
from mmfuse.data.dataset import FusionDataset
from mmfuse.data.features import FeatureData
from mmfuse.data.hf import HFData
from mmfuse.data.npy import NpyData
from mmfuse.data.npz import NpzData
from mmfuse.data.run_data import RunData
from mmfuse.data.source import Source
from mmfuse.data.survival import Survival
from mmfuse.data.tables import TableData

__all__ = [
    "CATALOGUE",
    "ArrayData",
    "CatalogueData",
    "FeatureData",
    "FusionDataModule",
    "FusionDataset",
    "HFData",
    "NpyData",
    "NpzData",
    "RunData",
    "Source",
    "Survival",
    "TableData",
]
