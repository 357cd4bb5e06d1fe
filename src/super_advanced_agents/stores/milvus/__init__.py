"""The store over a Milvus server."""

from super_advanced_agents.stores.milvus.engine.address import MilvusAddress
from super_advanced_agents.stores.milvus.store import MAX_DIM, MIN_DIM, MilvusVectorStore

__all__ = ["MAX_DIM", "MIN_DIM", "MilvusAddress", "MilvusVectorStore"]
