"""Clients of this project's server: a remote vector store, a remote agent, and transports.

Operations, messages and their encoding belong in `protocol`; stores and agents in this process belong in `stores` and
`agents`.
"""

from super_advanced_agents.client.agents.remote_agent import RemoteAgent
from super_advanced_agents.client.opening import open_store
from super_advanced_agents.client.stores.distributed_store import DistributedVectorStore
from super_advanced_agents.client.stores.stub import DistributedVectorStoreStub

__all__ = ["DistributedVectorStore", "DistributedVectorStoreStub", "RemoteAgent", "open_store"]
