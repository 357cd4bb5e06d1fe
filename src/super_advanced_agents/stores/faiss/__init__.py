"""The embedded store: rows in SQLite, indexes in FAISS."""

from super_advanced_agents.stores.faiss.store import FAISSVectorStore

__all__ = ["FAISSVectorStore"]
