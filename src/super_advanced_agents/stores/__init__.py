"""Where memories are kept."""

from super_advanced_agents.stores.base import FilterFn, VectorStore
from super_advanced_agents.stores.faiss import FAISSVectorStore

__all__ = ["FAISSVectorStore", "FilterFn", "VectorStore"]
