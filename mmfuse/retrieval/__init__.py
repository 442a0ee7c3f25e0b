"""Retrieval: how well vectors of one modality find those of another, in bounded memory."""

from mmfuse.retrieval.scores import RetrievalScores, retrieval_scores

__all__ = ["RetrievalScores", "retrieval_scores"]
