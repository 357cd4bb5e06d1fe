"""The import name that the specification uses for classes of `super_advanced_agents`.

This package only re-exports; all code belongs in `super_advanced_agents`.
"""

from super_advanced_agents import (
    AsyncLLMAgent,
    AsyncLLMWrapper,
    DistributedVectorStoreStub,
    EmbeddingPipeline,
    FAISSVectorStore,
    LLMAgent,
    LLMGenerator,
)

__all__ = [
    "AsyncLLMAgent",
    "AsyncLLMWrapper",
    "DistributedVectorStoreStub",
    "EmbeddingPipeline",
    "FAISSVectorStore",
    "LLMAgent",
    "LLMGenerator",
]
