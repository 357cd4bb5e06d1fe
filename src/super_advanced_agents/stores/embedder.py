"""`Embedder`: the interface of the object that turns texts into vectors for a store."""

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
        """Return an (n, dim) matrix with the vectors of n texts, in order; blocks the thread."""

    async def aembed_batch(self, texts: Sequence[str]) -> Matrix:
        """Return an (n, dim) matrix with the vectors of n texts, in order, without blocking."""
