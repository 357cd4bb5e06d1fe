"""The interface of embedding engines, the backends that turn texts into unit vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from super_advanced_agents._runtime.remote.server_pool import ServerStatus
from super_advanced_agents.types import Matrix


class EmbeddingEngine(ABC):
    """Compute unit vectors for batches of texts; the base class of embedding engines.

    `EmbeddingPipeline` validates, queues and batches the texts.

    Constructors do no I/O. The pipeline calls `open` before each `run`, and `close` after the last one. It calls all
    three from worker threads, where they may block.

    Attributes:
        workers: the number of threads that may call `run` concurrently.
        spare_worker: whether one thread more may call `run`, with the query of a search, so that this does not wait for
            long texts.
        batch_texts: the most texts that the pipeline passes to one `run`.
        batch_tokens: the most padded tokens that the engine computes at once.
    """

    workers: int = 1
    spare_worker: bool = False
    batch_texts: int = 32
    batch_tokens: int = 2048

    @property
    @abstractmethod
    def model_id(self) -> str:
        """An id of the model, its precision and, where known, a digest of its weights.

        Vectors with different ids must not be compared.
        """

    @property
    @abstractmethod
    def dim(self) -> int | None:
        """The number of dimensions of the vectors, or None while it is unknown.

        It is known after the first `run` at the latest.
        """

    @property
    @abstractmethod
    def max_tokens(self) -> int | None:
        """The number of tokens to which a text is truncated; None if a server does not report it."""

    @abstractmethod
    def open(self) -> None:
        """Load the model and tokenizer, or create the client of a server, for `run`.

        A call on an open engine does nothing; a call after a failure tries again.

        Raises:
            ModelNotFoundError: the model's files are missing or damaged.
            EmbeddingError: the engine cannot start.
        """

    @abstractmethod
    def run(self, texts: Sequence[str]) -> Matrix:
        """Compute one vector for each text, and return them in the order of the texts.

        Returns:
            (n, dim) float32, one L2-normalised row per text.

        Raises:
            InvalidInputError: a text cannot be embedded; the pipeline tries the others again without it.
            SuperAdvancedAgentsError: the engine failed for a reason that does not depend on the texts.
        """

    def count_tokens(self, texts: Sequence[str]) -> int | None:
        """Return the number of tokens that `run` would read from all these texts together.

        Returns:
            The number of tokens after truncation; None if a server does not report it.
        """
        del texts
        return None

    def decode(self, tokens: Sequence[Sequence[int]]) -> list[str] | None:
        """Return the texts that lists of the model's tokens stand for, without special tokens.

        Returns:
            One text for each list; None if the tokenizer is not known here, as with a server.

        Raises:
            InvalidInputError: a token is none of the model's; `field` is `tokens[i]`.
        """
        del tokens
        return None

    def server_status(self) -> list[ServerStatus]:
        """Return the state of each server; an empty list for an engine of one or none."""
        return []

    @abstractmethod
    def close(self) -> None:
        """Free the model or client that `open` created; do nothing if `open` was never called."""
