"""Explanations of scores, re-ranking, memories in prompts, and the check of answers.

Code that finds matches belongs in `stores`, and code that answers questions in `agents`.
"""

from super_advanced_agents.retrieval.explaining import explained
from super_advanced_agents.retrieval.grounding import unsupported_terms
from super_advanced_agents.retrieval.llm_reranker import LLMReranker
from super_advanced_agents.retrieval.notes import Notes, one_line
from super_advanced_agents.retrieval.reranking import Reranker, Reranking

__all__ = ["LLMReranker", "Notes", "Reranker", "Reranking", "explained", "one_line", "unsupported_terms"]
