"""A child process that gives a store other vectors, with writes in between, and kills itself on the way.

    python -m tests.crash.reembedding FOLDER N

Killed before the N-th statement of the writer's connection, staging not counted; if it came to its end before, `done`,
the number of texts it embedded and that of statements are printed. Each call of the model adds a record, replaces one
and deletes one, all named by what is in the store, so that runs that were killed go on as one that was not.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import threading
from collections.abc import Sequence

import numpy as np

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.types import Matrix

RECORDS = 1_200
OLD_DIM, NEW_DIM = 16, 8
OPTIONS = {"index": "hnsw", "buffer_rows": 64}


class Model:
    """Vectors by a text's digest."""

    def __init__(self, model_id: str, dim: int) -> None:
        self.model_id = model_id
        self.dim = dim

    def embed_batch(self, texts: Sequence[str]) -> Matrix:
        """The vectors of some texts."""
        digests = (hashlib.blake2b(f"{self.model_id} {text}".encode(), digest_size=8).digest() for text in texts)
        seeds = (int.from_bytes(digest, "big") for digest in digests)
        return np.array([np.random.default_rng(seed).standard_normal(self.dim) for seed in seeds], np.float32)

    async def aembed_batch(self, texts: Sequence[str]) -> Matrix:
        """The same for asyncio."""
        return self.embed_batch(texts)


OLD, NEW = Model("old", OLD_DIM), Model("new", NEW_DIM)


class _Busy(Model):
    """The new model, while somebody else is writing to the store."""

    def __init__(self, store: FAISSVectorStore) -> None:
        super().__init__(NEW.model_id, NEW.dim)
        self.store = store

    def embed_batch(self, texts: Sequence[str]) -> Matrix:
        """The vectors of some texts."""
        if threading.current_thread().name != "store writer" and self.store.dim == OLD_DIM:
            n = self.store.count({"extra": True})
            text = f"extra {n}"
            for uid, told, extra in ((f"x{n:04d}", text, True), (f"r{n:04d}", f"replaced {n}", False)):
                self.store.add(OLD.embed_batch([told])[0], {"text": told, "extra": extra}, uid, model_id="old")
            self.store.delete([f"r{500 + n:04d}"])
        return super().embed_batch(texts)


def main() -> None:
    """Do it."""
    folder, last = sys.argv[1], int(sys.argv[2])
    statements = 0

    def on_statement(sql: str) -> None:
        nonlocal statements
        statements += not sql.startswith("INSERT OR REPLACE")
        if statements == last:
            os.kill(os.getpid(), signal.SIGKILL)

    with FAISSVectorStore(OLD_DIM, folder, **OPTIONS) as store:
        store._rows._writer.set_trace_callback(on_statement)
        done = store.reembed(_Busy(store))
        store._rows._writer.set_trace_callback(None)
        print("done", done.embedded, statements, flush=True)


if __name__ == "__main__":
    main()
