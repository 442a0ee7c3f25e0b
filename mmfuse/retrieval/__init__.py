"""Retrieval: how well vectors of one modality find those of another, in bounded memory.

Names are imported on first use, so that the commands are quick to say what they take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmfuse.lazy import lazy

_HOMES = {
    "Direction": "mmfuse.retrieval.directions",
    "RetrievalScores": "mmfuse.retrieval.scores",
    "every_direction": "mmfuse.retrieval.directions",
    "mean_scores": "mmfuse.retrieval.directions",
    "retrieval_scores": "mmfuse.retrieval.scores",
}

if TYPE_CHECKING:
    from mmfuse.retrieval.directions import Direction, every_direction, mean_scores
    from mmfuse.retrieval.scores import RetrievalScores, retrieval_scores
else:
    __getattr__ = lazy(__name__, _HOMES)

__all__ = [
    "Direction",
    "RetrievalScores",
    "every_direction",
    "mean_scores",
    "retrieval_scores",
]
