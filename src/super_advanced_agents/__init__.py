"""Agents with memory, which embed, store, search and answer on one machine or on many.

This file only exports the public names, each imported on first use so that `import super_advanced_agents` costs
nothing; code belongs in the subpackages.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from super_advanced_agents.agents import AsyncLLMAgent, LLMAgent
    from super_advanced_agents.client import DistributedVectorStore, DistributedVectorStoreStub, RemoteAgent, open_store
    from super_advanced_agents.config import Limits
    from super_advanced_agents.embeddings import EmbeddingPipeline
    from super_advanced_agents.errors import (
        CollectionExistsError,
        CollectionNotFoundError,
        SuperAdvancedAgentsError,
    )
    from super_advanced_agents.generation import AsyncLLMWrapper, LLMGenerator
    from super_advanced_agents.orchestration import Orchestrator, Outcome, Step
    from super_advanced_agents.stores import FAISSVectorStore, VectorStore
    from super_advanced_agents.types import (
        AgentInfo,
        Answer,
        AnswerEvent,
        ChatMessage,
        CollectionInfo,
        ExplainedMatch,
        Explanation,
        Match,
        Memory,
        Record,
        Relocation,
        Signal,
        Turn,
        Weights,
    )

_EXPORTS = {
    "AgentInfo": "types",
    "Answer": "types",
    "AnswerEvent": "types",
    "AsyncLLMAgent": "agents",
    "AsyncLLMWrapper": "generation",
    "ChatMessage": "types",
    "CollectionExistsError": "errors",
    "CollectionInfo": "types",
    "CollectionNotFoundError": "errors",
    "DistributedVectorStore": "client",
    "DistributedVectorStoreStub": "client",
    "EmbeddingPipeline": "embeddings",
    "ExplainedMatch": "types",
    "Explanation": "types",
    "FAISSVectorStore": "stores",
    "LLMAgent": "agents",
    "LLMGenerator": "generation",
    "Limits": "config",
    "Match": "types",
    "Memory": "types",
    "Orchestrator": "orchestration",
    "Outcome": "orchestration",
    "Record": "types",
    "Relocation": "types",
    "RemoteAgent": "client",
    "Signal": "types",
    "Step": "orchestration",
    "SuperAdvancedAgentsError": "errors",
    "Turn": "types",
    "VectorStore": "stores",
    "Weights": "types",
    "open_store": "client",
}

__all__ = [
    "AgentInfo",
    "Answer",
    "AnswerEvent",
    "AsyncLLMAgent",
    "AsyncLLMWrapper",
    "ChatMessage",
    "CollectionExistsError",
    "CollectionInfo",
    "CollectionNotFoundError",
    "DistributedVectorStore",
    "DistributedVectorStoreStub",
    "EmbeddingPipeline",
    "ExplainedMatch",
    "Explanation",
    "FAISSVectorStore",
    "LLMAgent",
    "LLMGenerator",
    "Limits",
    "Match",
    "Memory",
    "Orchestrator",
    "Outcome",
    "Record",
    "Relocation",
    "RemoteAgent",
    "Signal",
    "Step",
    "SuperAdvancedAgentsError",
    "Turn",
    "VectorStore",
    "Weights",
    "open_store",
]


def __getattr__(name: str) -> object:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_EXPORTS[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
