"""The name the specification imports: the same classes as `super_advanced_agents`, nothing more."""

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
