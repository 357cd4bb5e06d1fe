"""What makes vectors of texts, as far as a store needs to know it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from super_advanced_agents.types import Matrix


class Embedder(Protocol):
    """Turns texts into vectors; an `EmbeddingPipeline` is one."""

    @property
    def model_id(self) -> str:
        """What makes the vectors; those of different ids do not mix."""

    def embed_batch(self, texts: Sequence[str]) -> Matrix:
        """The vectors (n, dim) of n texts, in order; blocks."""

    async def aembed_batch(self, texts: Sequence[str]) -> Matrix:
        """The same for asyncio."""
