"""An LRU cache of vectors in memory, divided among shares, with limits on entries and bytes."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from super_advanced_agents._runtime.queues.shares import NO_SHARE
from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.types import Vector

_ENTRY_OVERHEAD_BYTES = 300
"""Memory of one entry besides the vector: key, array header and two dictionary slots.

Measured with CPython 3.11 and NumPy 2.
"""
_SHARE_BYTES = 8
_TEXT_BYTES = 16
KEY_BYTES = _SHARE_BYTES + _TEXT_BYTES
"""The length of a cache key."""


class VectorCache:
    """Cache the vectors of texts in memory, divided among tenants. LRU eviction; thread-safe.

    A vector that one share's text left in the cache is never found for another's, whose caller would learn from a fast
    answer that the text is known. When the cache is full, the share with the most vectors loses its least recently used
    one. The key of an entry consists of digests, so that the size of an entry does not depend on the text's length.

    Args:
        max_entries: the most vectors to cache; 0 disables the cache.
        max_bytes: the most memory to use, overhead included.

    Attributes:
        max_entries: the most vectors to cache.

    Raises:
        ConfigurationError: a limit is negative.
    """

    def __init__(self, *, max_entries: int, max_bytes: int) -> None:
        if max_entries < 0 or max_bytes < 0:
            raise ConfigurationError(
                f"max_entries and max_bytes must not be negative, not {max_entries!r} and {max_bytes!r}"
            )
        self.max_entries = max_entries
        self._max_bytes = max_bytes
        # By the digest of the share; in each the least recently used vector is first.
        self._shares: dict[bytes, OrderedDict[bytes, Vector]] = {}
        self._entries = self._bytes = 0
        self._hits = 0
        self._misses = 0
        self._insert_count = 0
        self._lock = threading.Lock()

    @staticmethod
    def key(model_id: str, text: str, share: str = NO_SHARE) -> bytes:
        """Return the cache key of a text for the model `model_id` and a share.

        The text must not contain lone surrogates.
        """
        prefix = _share_digest(share)
        return prefix + hashlib.blake2b(f"{model_id}\0{text}".encode(), digest_size=_TEXT_BYTES, salt=prefix).digest()

    def get(self, key: bytes, *, count: bool = True) -> Vector | None:
        """Return the vector cached under `key`, as a read-only array, or None if there is none.

        Args:
            key: a result of `key`.
            count: update the counters of hits and misses.
        """
        with self._lock:
            vectors = self._shares.get(key[:_SHARE_BYTES])
            vector = None if vectors is None else vectors.get(key)
            if vectors is not None and vector is not None:
                vectors.move_to_end(key)
            if count:
                self._hits += vector is not None
                self._misses += vector is None
            return vector

    def put(self, keys: Sequence[bytes], vectors: Sequence[Vector]) -> None:
        """Cache a copy of each vector under its key; evict those of the largest share if full."""
        if not self.max_entries:
            return
        with self._lock:
            for key, vector in zip(keys, vectors, strict=True):
                stored = np.array(vector, dtype=np.float32)
                stored.flags.writeable = False
                if _size_bytes(stored) > self._max_bytes:
                    self._insert_count += 1
                    continue
                share = self._shares.setdefault(key[:_SHARE_BYTES], OrderedDict())
                replaced = share.pop(key, None)
                if replaced is None:
                    self._insert_count += 1
                    self._entries += 1
                else:
                    self._bytes -= _size_bytes(replaced)
                share[key] = stored
                self._bytes += _size_bytes(stored)
                while self._entries > self.max_entries or self._bytes > self._max_bytes:
                    self._evict()

    def _evict(self) -> None:
        digest, share = max(self._shares.items(), key=lambda item: len(item[1]))
        _, vector = share.popitem(last=False)
        self._entries -= 1
        self._bytes -= _size_bytes(vector)
        if not share:
            del self._shares[digest]

    @property
    def insert_count(self) -> int:
        """The number of vectors inserted so far, without those whose key was already cached."""
        return self._insert_count

    def entries(self) -> tuple[list[bytes], list[Vector]]:
        """Return all cached keys and their vectors, each share's least recently used first.

        The vectors are read-only.
        """
        with self._lock:
            pairs = [pair for share in self._shares.values() for pair in share.items()]
        return [key for key, _ in pairs], [vector for _, vector in pairs]

    def clear(self) -> None:
        """Remove all vectors from the cache, but keep the counters of hits and misses."""
        with self._lock:
            self._shares.clear()
            self._entries = self._bytes = 0

    def stats(self) -> dict[str, int]:
        """Return the number of cached vectors, their bytes, and the counts of hits and misses.

        The keys are `cache_entries`, `cache_bytes`, `cache_hits` and `cache_misses`.
        """
        with self._lock:
            return {
                "cache_entries": self._entries,
                "cache_bytes": self._bytes,
                "cache_hits": self._hits,
                "cache_misses": self._misses,
            }


@lru_cache(maxsize=1_024)
def _share_digest(share: str) -> bytes:
    return hashlib.blake2b(share.encode(), digest_size=_SHARE_BYTES).digest()


def _size_bytes(vector: Vector) -> int:
    return vector.nbytes + _ENTRY_OVERHEAD_BYTES
