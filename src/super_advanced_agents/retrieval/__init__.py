"""Between the store and whoever asked: explanations, re-ranking, and how a model is shown matches."""

from super_advanced_agents.retrieval.explaining import explained
from super_advanced_agents.retrieval.llm_reranker import LLMReranker
from super_advanced_agents.retrieval.notes import Notes
from super_advanced_agents.retrieval.reranking import Reranker, Reranking

__all__ = ["LLMReranker", "Notes", "Reranker", "Reranking", "explained"]
