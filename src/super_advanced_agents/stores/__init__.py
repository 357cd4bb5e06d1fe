"""Where memories are kept."""

from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.stores.faiss import FAISSVectorStore
from super_advanced_agents.stores.requests import FilterFn

__all__ = ["FAISSVectorStore", "FilterFn", "VectorStore"]
