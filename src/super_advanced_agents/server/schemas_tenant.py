"""The shapes of what a tenant has: agents with their settings, and counts."""

from __future__ import annotations

from dataclasses import asdict
from typing import Self

from pydantic import BaseModel, Field

from super_advanced_agents.server.schemas import shown
from super_advanced_agents.types import AgentInfo

_AGENT = {
    "name": "travel",
    "description": "knows trains, hotels and museums",
    "namespace": "travel",
    "answer_tokens": 300,
    "context_chars": 4000,
    "rerank": False,
    "declared": False,
    "updated_at": 1767225600.0,
}


class AgentOut(BaseModel):
    """An agent that was given settings; the time is in seconds since the epoch."""

    model_config = shown(_AGENT)

    name: str
    description: str
    namespace: str
    answer_tokens: int
    context_chars: int
    rerank: bool
    declared: bool = Field(description="by the server's configuration file; it is changed there alone")
    updated_at: float | None

    @classmethod
    def of(cls, info: AgentInfo) -> Self:
        """From the library's value."""
        return cls.model_construct(**asdict(info))


class Agents(BaseModel):
    """The agents that were given settings, by name; agents of all other names exist with the defaults."""

    model_config = shown({"agents": [_AGENT]})

    agents: list[AgentOut]


class StoreStats(BaseModel):
    """The store that all agents share; nothing of what is in it."""

    engine: str
    dim: int
    metric: str
    index: str


class Stats(BaseModel):
    """What a tenant has, and what the server works with."""

    model_config = shown(
        {
            "agents": 1,
            "collections": 2,
            "embedding_model": "all-MiniLM-L6-v2@int8",
            "store": {"engine": "faiss", "dim": 384, "metric": "cosine", "index": "auto"},
        }
    )

    agents: int = Field(description="that were given settings")
    collections: int
    embedding_model: str
    store: StoreStats
