"""A bounded memory of vectors: the least recently used one leaves first."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from copy import copy

import numpy as np
from cachetools import LRUCache

from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.types import Vector

_ENTRY_OVERHEAD_BYTES = 450
"""Key, array header and three dictionary slots of one entry, measured with CPython 3.11, NumPy 2 and cachetools 8."""


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
        self._vectors: LRUCache[bytes, Vector] = LRUCache(max_bytes, getsizeof=_size_bytes)
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
                own = np.array(vector, dtype=np.float32)
                own.flags.writeable = False
                if _size_bytes(own) <= self._vectors.maxsize:
                    self._vectors[key] = own
                if len(self._vectors) > self._max_entries:
                    self._vectors.popitem()

    @property
    def put_count(self) -> int:
        """How many vectors were ever put in that were not there."""
        return self._put

    def entries(self) -> tuple[list[bytes], list[Vector]]:
        """All keys, least recently used first, and their vectors, which must not be written to."""
        with self._lock:
            left = copy(self._vectors)
        pairs = [left.popitem() for _ in range(len(left))]  # the one public way to learn the order of use
        return [key for key, _ in pairs], [vector for _, vector in pairs]

    def clear(self) -> None:
        """Forget all vectors; hits and misses stay."""
        with self._lock:
            self._vectors.clear()

    def stats(self) -> dict[str, int]:
        """Return entries, bytes, hits and misses."""
        with self._lock:
            return {
                "cache_entries": len(self._vectors),
                "cache_bytes": int(self._vectors.currsize),
                "cache_hits": self._hits,
                "cache_misses": self._misses,
            }


def _size_bytes(vector: Vector) -> int:
    return vector.nbytes + _ENTRY_OVERHEAD_BYTES
