"""The store over a Milvus server."""

from super_advanced_agents.stores.milvus.store import MilvusVectorStore

__all__ = ["MilvusVectorStore"]
