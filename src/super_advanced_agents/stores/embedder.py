"""The part of an embedding pipeline's interface that stores call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from super_advanced_agents.types import Matrix


class Embedder(Protocol):
    """Turn texts into vectors; `EmbeddingPipeline` implements this interface."""

    @property
    def model_id(self) -> str:
        """The name of the embedding model; vectors of different models cannot be compared."""

    def embed_batch(self, texts: Sequence[str]) -> Matrix:
        """Return the (n, dim) vectors of n texts, in order; blocks the calling thread."""

    async def aembed_batch(self, texts: Sequence[str]) -> Matrix:
        """Return the (n, dim) vectors of n texts, in order."""
