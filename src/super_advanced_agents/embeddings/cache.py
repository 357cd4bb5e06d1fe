"""An LRU cache of vectors in memory, with limits on entries and bytes."""

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
"""Memory of one entry besides the vector: key, array header and three dictionary slots.

Measured with CPython 3.11, NumPy 2 and cachetools 8.
"""


class VectorCache:
    """A thread-safe LRU cache in memory for the vectors of texts, by model id and text.

    The key of an entry is a 128-bit BLAKE2b digest, so that the size of an entry does not depend on the text's length.

    Args:
        max_entries: the most vectors to cache; 0 disables the cache.
        max_bytes: the most memory to use, overhead included.

    Raises:
        ConfigurationError: a limit is negative.
    """

    def __init__(self, *, max_entries: int, max_bytes: int) -> None:
        if max_entries < 0 or max_bytes < 0:
            raise ConfigurationError(
                f"max_entries and max_bytes must not be negative, not {max_entries!r} and {max_bytes!r}"
            )
        self._max_entries = max_entries
        self._vectors: LRUCache[bytes, Vector] = LRUCache(max_bytes, getsizeof=_size_bytes)
        self._hits = 0
        self._misses = 0
        self._insert_count = 0
        self._lock = threading.Lock()

    @staticmethod
    def key(model_id: str, text: str) -> bytes:
        """Return the 16-byte cache key for the vector of `text` computed by the model `model_id`.

        The text must not contain lone surrogates.
        """
        return hashlib.blake2b(f"{model_id}\0{text}".encode(), digest_size=16).digest()

    def get(self, key: bytes, *, count: bool = True) -> Vector | None:
        """Return the vector cached under `key`, as a read-only array, or None if there is none.

        Args:
            key: a result of `key`.
            count: update the counters of hits and misses.
        """
        with self._lock:
            vector = self._vectors.get(key)
            if count:
                self._hits += vector is not None
                self._misses += vector is None
            return vector

    def put(self, keys: Sequence[bytes], vectors: Sequence[Vector]) -> None:
        """Cache a copy of each vector under its key; evict the least recently used ones if full."""
        if not self._max_entries:
            return
        with self._lock:
            for key, vector in zip(keys, vectors, strict=True):
                self._insert_count += key not in self._vectors
                stored = np.array(vector, dtype=np.float32)
                stored.flags.writeable = False
                if _size_bytes(stored) <= self._vectors.maxsize:
                    self._vectors[key] = stored
                if len(self._vectors) > self._max_entries:
                    self._vectors.popitem()

    @property
    def insert_count(self) -> int:
        """The number of vectors inserted so far, without those whose key was already cached."""
        return self._insert_count

    def entries(self) -> tuple[list[bytes], list[Vector]]:
        """Return all cached keys and their read-only vectors, both least recently used first."""
        with self._lock:
            remaining = copy(self._vectors)
        pairs = [remaining.popitem() for _ in range(len(remaining))]  # the only public way to get the LRU order
        return [key for key, _ in pairs], [vector for _, vector in pairs]

    def clear(self) -> None:
        """Remove all vectors from the cache, but keep the counters of hits and misses."""
        with self._lock:
            self._vectors.clear()

    def stats(self) -> dict[str, int]:
        """Return the number of cached vectors, their bytes, and the counts of hits and misses.

        The keys are `cache_entries`, `cache_bytes`, `cache_hits` and `cache_misses`.
        """
        with self._lock:
            return {
                "cache_entries": len(self._vectors),
                "cache_bytes": int(self._vectors.currsize),
                "cache_hits": self._hits,
                "cache_misses": self._misses,
            }


def _size_bytes(vector: Vector) -> int:
    return vector.nbytes + _ENTRY_OVERHEAD_BYTES
