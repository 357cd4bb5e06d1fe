"""The interface of an embedding pipeline, as far as a store needs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from super_advanced_agents.types import Matrix


class Embedder(Protocol):
    """Turn texts into vectors; an `EmbeddingPipeline` does."""

    @property
    def model_id(self) -> str:
        """The name of the embedding model; vectors of different models cannot be compared."""

    def embed_batch(self, texts: Sequence[str]) -> Matrix:
        """Return the (n, dim) vectors of n texts, in order; blocks the calling thread."""

    async def aembed_batch(self, texts: Sequence[str]) -> Matrix:
        """Return the (n, dim) vectors of n texts, in order."""
