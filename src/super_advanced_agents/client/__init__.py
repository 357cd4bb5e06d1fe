"""The calling end of the contract."""

from super_advanced_agents.client.distributed_store import DistributedVectorStore
from super_advanced_agents.client.opening import open_store
from super_advanced_agents.client.remote_agent import RemoteAgent
from super_advanced_agents.client.stub import DistributedVectorStoreStub

__all__ = ["DistributedVectorStore", "DistributedVectorStoreStub", "RemoteAgent", "open_store"]
