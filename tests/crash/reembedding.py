"""A child process that gives a store other vectors, with writes in between, and kills itself on the way.

    python -m tests.crash.reembedding FOLDER N

It is killed before the N-th statement of the writer's connection, staging not counted. If it comes to its end before,
it prints `done`, the number of texts it embedded and that of statements. Each call of the model adds a record, replaces
one and deletes one, all named by what is in the store, so that killed runs go on as one that was not killed.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence

import numpy as np

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.types import Matrix

RECORDS = 1_200
OLD_DIM, NEW_DIM = 16, 8
OPTIONS = {"index": "hnsw", "buffer_rows": 64}


class Model:
    """Computes vectors from a text's digest."""

    def __init__(self, model_id: str, dim: int) -> None:
        self.model_id = model_id
        self.dim = dim

    def embed_batch(self, texts: Sequence[str]) -> Matrix:
        """Return the vectors of some texts."""
        digests = (hashlib.blake2b(f"{self.model_id} {text}".encode(), digest_size=8).digest() for text in texts)
        seeds = (int.from_bytes(digest, "big") for digest in digests)
        return np.array([np.random.default_rng(seed).standard_normal(self.dim) for seed in seeds], np.float32)

    async def aembed_batch(self, texts: Sequence[str]) -> Matrix:
        """Return the vectors of some texts, for asyncio."""
        return self.embed_batch(texts)


OLD, NEW = Model("old", OLD_DIM), Model("new", NEW_DIM)


class _WritingModel(Model):
    """The new model, which also writes to the store while it embeds."""

    def __init__(self, store: FAISSVectorStore) -> None:
        super().__init__(NEW.model_id, NEW.dim)
        self.store = store

    def embed_batch(self, texts: Sequence[str]) -> Matrix:
        """Write to the store, and return the vectors of some texts."""
        if threading.current_thread().name != "store writer" and self.store.dim == OLD_DIM:
            n = self.store.count({"extra": True})
            text = f"extra {n}"
            for uid, new_text, extra in ((f"x{n:04d}", text, True), (f"r{n:04d}", f"replaced {n}", False)):
                self.store.add(OLD.embed_batch([new_text])[0], {"text": new_text, "extra": extra}, uid, model_id="old")
            self.store.delete([f"r{500 + n:04d}"])
        return super().embed_batch(texts)


def _trace_statements(store: FAISSVectorStore, on_statement: Callable[[str], None] | None) -> None:
    """Call `on_statement` with each statement of the writer; only its own connection reports them."""
    store._rows._writer.set_trace_callback(on_statement)


def main() -> None:
    """Re-embed the store, and kill the process on the way."""
    folder, last = sys.argv[1], int(sys.argv[2])
    statements = 0

    def on_statement(sql: str) -> None:
        nonlocal statements
        statements += not sql.startswith("INSERT OR REPLACE")
        if statements == last:
            os.kill(os.getpid(), signal.SIGKILL)

    with FAISSVectorStore(OLD_DIM, folder, **OPTIONS) as store:
        _trace_statements(store, on_statement)
        done = store.reembed(_WritingModel(store))
        _trace_statements(store, None)
        print("done", done.embedded, statements, flush=True)


if __name__ == "__main__":
    main()
