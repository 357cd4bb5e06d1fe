"""The contract of an embedding engine: texts in, unit vectors out, from one worker thread at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from super_advanced_agents.types import Matrix


class EmbeddingEngine(ABC):
    """Computes vectors; `EmbeddingPipeline` queues, batches, caches and validates in front of it.

    Constructors do no I/O. `open` is called before the first `run`, `close` after the last; all three from worker
    threads, where they may block.

    Attributes:
        workers: how many threads may call `run` side by side.
        batch_texts: the most texts one `run` should be given.
        batch_tokens: the most padded tokens one `run` should be given, estimated from the texts' lengths.
    """

    workers: int = 1
    batch_texts: int = 32
    batch_tokens: int = 2048

    @property
    @abstractmethod
    def model_id(self) -> str:
        """What made a vector: model, precision and a digest of the weights where there is one."""

    @property
    @abstractmethod
    def dim(self) -> int | None:
        """The length of the vectors; None while only a first `run` could tell."""

    @property
    @abstractmethod
    def max_tokens(self) -> int | None:
        """Longer texts are truncated to this; None when only the other side knows."""

    @abstractmethod
    def open(self) -> None:
        """Load what `run` needs. Called again after it failed.

        Raises:
            ModelNotFoundError: the model's files are missing or damaged.
            EmbeddingError: the engine cannot start.
        """

    @abstractmethod
    def run(self, texts: Sequence[str]) -> Matrix:
        """Return (n, dim) float32, one L2-normalised row a text, in order.

        Raises:
            InvalidInputError: one of the texts is to blame; the others may be tried without it.
            SuperAdvancedAgentsError: the engine failed, whatever the texts.
        """

    def count_tokens(self, texts: Sequence[str]) -> int | None:
        """How many tokens `run` would read of these texts, together; None when only the other side knows."""
        del texts
        return None

    @abstractmethod
    def close(self) -> None:
        """Free what `open` took; harmless when it was never called."""
