"""A bounded memory of vectors: the least recently used one leaves first."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.types import Vector

_ENTRY_OVERHEAD_BYTES = 360
"""Key, array header and dictionary slot of one entry, as measured with CPython 3.11 and NumPy 2."""


class VectorCache:
    """Vectors by (model id, text), safe to use from many threads.

    A text is kept as its 128-bit BLAKE2b digest, so an entry costs the same however long the text is.

    Args:
        max_entries: how many vectors are kept; 0 keeps none.
        max_bytes: how much memory they may take, overhead included.
    """

    def __init__(self, *, max_entries: int, max_bytes: int) -> None:
        if max_entries < 0 or max_bytes < 0:
            raise ConfigurationError(f"a cache cannot hold {max_entries!r} entries or {max_bytes!r} bytes")
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._vectors: OrderedDict[bytes, Vector] = OrderedDict()
        self._bytes = 0
        self._hits = 0
        self._misses = 0
        self._put = 0
        self._lock = threading.Lock()

    @staticmethod
    def key(model_id: str, text: str) -> bytes:
        """The name of a text's vector; `text` holds no lone surrogates."""
        return hashlib.blake2b(f"{model_id}\0{text}".encode(), digest_size=16).digest()

    def get(self, key: bytes, *, count: bool = True) -> Vector | None:
        """Return the vector, which must not be written to, or None; `count=False` leaves hits and misses alone."""
        with self._lock:
            vector = self._vectors.get(key)
            if vector is not None:
                self._vectors.move_to_end(key)
            if count:
                self._hits += vector is not None
                self._misses += vector is None
            return vector

    def put(self, keys: Sequence[bytes], vectors: Sequence[Vector]) -> None:
        """Remember copies of vectors."""
        if not self._max_entries:
            return
        with self._lock:
            for key, vector in zip(keys, vectors, strict=True):
                self._put += key not in self._vectors
                self._drop(key)
                own = np.array(vector, dtype=np.float32)
                own.flags.writeable = False
                self._vectors[key] = own
                self._bytes += own.nbytes + _ENTRY_OVERHEAD_BYTES
            while self._vectors and (len(self._vectors) > self._max_entries or self._bytes > self._max_bytes):
                self._drop(next(iter(self._vectors)))

    @property
    def put_count(self) -> int:
        """How many vectors were ever put in that were not there."""
        return self._put

    def entries(self) -> tuple[list[bytes], list[Vector]]:
        """All keys, least recently used first, and their vectors, which must not be written to."""
        with self._lock:
            return list(self._vectors), list(self._vectors.values())

    def clear(self) -> None:
        """Forget all vectors; hits and misses stay."""
        with self._lock:
            self._vectors.clear()
            self._bytes = 0

    def stats(self) -> dict[str, int]:
        """Return entries, bytes, hits and misses."""
        with self._lock:
            return {
                "cache_entries": len(self._vectors),
                "cache_bytes": self._bytes,
                "cache_hits": self._hits,
                "cache_misses": self._misses,
            }

    def _drop(self, key: bytes) -> None:
        gone = self._vectors.pop(key, None)
        if gone is not None:
            self._bytes -= gone.nbytes + _ENTRY_OVERHEAD_BYTES
