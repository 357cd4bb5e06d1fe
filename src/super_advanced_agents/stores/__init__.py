"""Vector stores: the interface, requests, validation, filters, score fusion, and engines.

Agents, embedding models, the network protocol and tenants' limits do not belong here.
"""

from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.stores.faiss import FAISSVectorStore
from super_advanced_agents.stores.milvus import MilvusVectorStore
from super_advanced_agents.stores.postgres import PgVectorStore
from super_advanced_agents.stores.requests import FilterFn

__all__ = ["FAISSVectorStore", "FilterFn", "MilvusVectorStore", "PgVectorStore", "VectorStore"]
