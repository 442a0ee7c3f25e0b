"""Retrieval: how well vectors of one modality find those of another, in bounded memory."""

from mmfuse.retrieval.directions import Direction, every_direction, mean_scores
from mmfuse.retrieval.scores import RetrievalScores, retrieval_scores

__all__ = [
    "Direction",
    "RetrievalScores",
    "every_direction",
    "mean_scores",
    "retrieval_scores",
]
