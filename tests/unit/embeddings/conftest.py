"""Provide an embedding engine without weights that a test can hold busy."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from super_advanced_agents.embeddings import EmbeddingEngine
from super_advanced_agents.errors import EmbeddingError, InvalidInputError
from super_advanced_agents.types import Matrix


class HeldEngine(EmbeddingEngine):
    """Compute vectors from text digests, record the batches, and block each batch until `may_run` is set.

    A batch with a text that begins with `poison` is refused; `broken` makes every batch fail.
    """

    batch_texts = 8

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.may_run = threading.Event()
        self.entered = threading.Semaphore(0)
        self.broken = False
        self.opened = 0

    @property
    def model_id(self) -> str:
        return "held"

    @property
    def dim(self) -> int:
        return 8

    @property
    def max_tokens(self) -> None:
        return None

    def open(self) -> None:
        self.opened += 1

    def run(self, texts: Sequence[str]) -> Matrix:
        self.batches.append(list(texts))
        self.entered.release()
        self.may_run.wait()
        if self.broken:
            raise EmbeddingError("the engine is broken")
        if any(text.startswith("poison") for text in texts):
            raise InvalidInputError("a text is refused", field="text")
        rows = [np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8)[:8] for text in texts]
        matrix = np.array(rows, np.float32) + 1
        return np.asarray(matrix / np.linalg.norm(matrix, axis=1, keepdims=True), np.float32)

    def close(self) -> None:
        self.may_run.set()


@pytest.fixture
def engine() -> HeldEngine:
    """Make an engine whose batches run once the test sets `engine.may_run`."""
    return HeldEngine()
