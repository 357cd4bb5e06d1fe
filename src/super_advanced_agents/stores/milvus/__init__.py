"""The store over Milvus: rows, vectors and keyword statistics in a collection of a Milvus server."""

from super_advanced_agents.stores.milvus.store import MilvusVectorStore

__all__ = ["MilvusVectorStore"]
