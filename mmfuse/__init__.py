"""mmfuse: multimodal representation and fusion, honest about absent modalities.

Names are imported on first use, so that ``import mmfuse`` and ``mmfuse --help`` stay quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmfuse.lazy import lazy

__version__ = "0.1.0"

_HOMES = {
    "AlignmentTask": "mmfuse.tasks",
    "ArrayData": "mmfuse.data",
    "Batch": "mmfuse.batch",
    "CatalogueData": "mmfuse.data",
    "DataSpec": "mmfuse.spec",
    "Encoder": "mmfuse.encoder",
    "Extractor": "mmfuse.features",
    "FusionModel": "mmfuse.model",
    "ModalitySpec": "mmfuse.spec",
    "Output": "mmfuse.model",
    "RecommendationData": "mmfuse.recommend",
    "RecommendationTask": "mmfuse.tasks",
    "Recommender": "mmfuse.recommend",
    "RobustnessResult": "mmfuse.robustness",
    "SupervisedTask": "mmfuse.tasks",
    "TableData": "mmfuse.data",
    "TargetSpec": "mmfuse.spec",
    "Tokens": "mmfuse.tokens",
    "Trainer": "mmfuse.trainer",
    "build_model": "mmfuse.tasks",
    "features": "mmfuse.features",
    "load": "mmfuse.checkpoint",
    "save": "mmfuse.checkpoint",
    "to_frame": "mmfuse.tasks.predictions",
}

if TYPE_CHECKING:
    from mmfuse import features
    from mmfuse.batch import Batch
    from mmfuse.checkpoint import load, save
    from mmfuse.data import ArrayData, CatalogueData, TableData
    from mmfuse.encoder import Encoder
    from mmfuse.features import Extractor
    from mmfuse.model import FusionModel, Output
    from mmfuse.recommend import RecommendationData, Recommender
    from mmfuse.robustness import RobustnessResult
    from mmfuse.spec import DataSpec, ModalitySpec, TargetSpec
    from mmfuse.tasks import AlignmentTask, RecommendationTask, SupervisedTask, build_model
    from mmfuse.tasks.predictions import to_frame
    from mmfuse.tokens import Tokens
    from mmfuse.trainer import Trainer
else:
    __getattr__ = lazy(__name__, _HOMES)

__all__ = [
    "AlignmentTask",
    "ArrayData",
    "Batch",
    "CatalogueData",
    "DataSpec",
    "Encoder",
    "Extractor",
    "FusionModel",
    "ModalitySpec",
    "Output",
    "RecommendationData",
    "RecommendationTask",
    "Recommender",
    "RobustnessResult",
    "SupervisedTask",
    "TableData",
    "TargetSpec",
    "Tokens",
    "Trainer",
    "build_model",
    "features",
    "load",
    "save",
    "to_frame",
]
