"""Snapshot of the vector cache on disk, which saves computing vectors again after a restart.

The snapshot is one file, which is written under a temporary name, flushed and renamed. It contains digests of texts and
no texts. But a vector reveals much of its text, and a digest confirms a guess, so that the file's mode is 0600. A file
that is damaged or of another model is ignored, since everything in it can be computed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import orjson

from super_advanced_agents._runtime.disk.files import create_folder, fsync_folder, open_private
from super_advanced_agents._runtime.queues.batcher import Workers
from super_advanced_agents.embeddings.cache import KEY_BYTES, VectorCache
from super_advanced_agents.errors import OverloadedError, ResourceClosedError
from super_advanced_agents.telemetry import get_logger
from super_advanced_agents.types import Matrix, Vector

_log = get_logger("embeddings")
_MAGIC = b"SAAVEC\x00\x02"  # the first version had keys that all tenants shared; such a file is ignored
_LENGTH = struct.Struct("<I")
_DIGEST_BYTES = 32
_SAVE_MIN_NEW_VECTORS = 256
"""The number of new vectors after which the snapshot is written again."""
_SAVE_MIN_INTERVAL_S = 60.0
"""Least time between two snapshots; a crash loses the vectors since the last one."""


class _DamagedError(Exception):
    """Raised within this module when a vector cache's snapshot file cannot be used."""


class VectorCacheSnapshot:
    """Save the vectors of a cache to a file, and load them from it.

    The methods block and are not thread-safe.

    Args:
        path: the file; its folder is created when missing.
        max_bytes: the length above which a file is ignored.
    """

    def __init__(self, path: Path, *, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes

    def load(self, model_id: str) -> tuple[list[bytes], Matrix]:
        """Return the cache keys and their vectors from the file, both least recently used first.

        The vectors are (n, dim) float32. Both results are empty when the file is missing, damaged or of another model;
        the last two are logged.
        """
        try:
            return self._read(model_id)
        except FileNotFoundError:
            pass
        except (_DamagedError, OSError, ValueError, KeyError, TypeError, struct.error) as exc:
            reason = (exc.strerror or str(exc)) if isinstance(exc, OSError) else str(exc)
            _log.warning("embeddings.cache_ignored", extra={"path": str(self._path), "reason": reason[:200]})
        return [], np.empty((0, 0), np.float32)

    def save(self, model_id: str, keys: Sequence[bytes], vectors: Sequence[Vector]) -> None:
        """Replace the file's content with the given cache keys and their vectors.

        A failure is logged and not raised. The file never contains an incomplete snapshot.
        """
        header = orjson.dumps({"model_id": model_id, "dim": len(vectors[0]) if vectors else 0, "count": len(keys)})
        parts = [
            _MAGIC,
            _LENGTH.pack(len(header)),
            header,
            b"".join(keys),
            np.stack(vectors).astype("<f4").tobytes() if vectors else b"",
        ]
        digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        for part in parts:
            digest.update(part)
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}.tmp")
        try:
            create_folder(self._path.parent)
            try:
                with os.fdopen(open_private(temporary, os.O_WRONLY | os.O_TRUNC), "wb") as file:
                    file.writelines([*parts, digest.digest()])
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(self._path)
            except OSError:
                with contextlib.suppress(OSError):
                    temporary.unlink()
                raise
            fsync_folder(self._path.parent)
        except OSError as exc:
            reason = exc.strerror or str(exc)
            _log.warning("embeddings.cache_not_kept", extra={"path": str(self._path), "reason": reason})

    def _read(self, model_id: str) -> tuple[list[bytes], Matrix]:
        if self._path.stat().st_size > self._max_bytes:
            raise _DamagedError("the file is too long")
        content = memoryview(self._path.read_bytes())
        if content[: len(_MAGIC)] != _MAGIC or len(content) < len(_MAGIC) + _LENGTH.size + _DIGEST_BYTES:
            raise _DamagedError("the file is not a snapshot of vectors")
        body, stored_digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
        if hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest() != stored_digest:
            raise _DamagedError("the checksum is wrong: the file was altered or is incomplete")
        start = len(_MAGIC) + _LENGTH.size
        [length] = _LENGTH.unpack(body[len(_MAGIC) : start])
        header = orjson.loads(body[start : start + length])
        if header["model_id"] != model_id:
            raise _DamagedError("the vectors were computed by another model")
        count, dim = int(header["count"]), int(header["dim"])
        keys = body[start + length : start + length + count * KEY_BYTES]
        vectors = np.frombuffer(body[start + length + len(keys) :], "<f4").reshape(count, dim).astype(np.float32)
        if not np.isfinite(vectors).all():
            raise _DamagedError("a vector is not finite")
        return [bytes(keys[i : i + KEY_BYTES]) for i in range(0, len(keys), KEY_BYTES)], vectors


class CacheSaver:
    """Fill a vector cache from a file once, and save it there regularly.

    Periodic writes run in a thread that this object owns.

    Args:
        cache: the cache in memory.
        path: the snapshot's file.
        max_bytes: the cache's limit on memory.
    """

    def __init__(self, cache: VectorCache, path: Path, *, max_bytes: int) -> None:
        self._cache = cache
        self._snapshot = VectorCacheSnapshot(path, max_bytes=2 * max_bytes)
        self._model_id: str | None = None
        self._saved_count = 0
        self._saved_at = time.monotonic()
        self._saver = Workers(name="embeddings cache", threads=1, max_queue=1)

    def load(self, model_id: str) -> None:
        """Fill the cache from the snapshot file if this model computed the vectors in it.

        Blocks. Only the first call has an effect.
        """
        if self._model_id is None:
            keys, vectors = self._snapshot.load(model_id)
            self._cache.put(keys, list(vectors))
            self._saved_count = self._cache.insert_count
            self._model_id = model_id

    def save_if_due(self) -> None:
        """Start saving the cache in a thread if enough vectors were added since the last save.

        Enough time must also have passed since then: `_SAVE_MIN_INTERVAL_S`.
        """
        if (
            self._cache.insert_count - self._saved_count < _SAVE_MIN_NEW_VECTORS
            or time.monotonic() - self._saved_at < _SAVE_MIN_INTERVAL_S
        ):
            return
        self._saved_at = time.monotonic()
        with contextlib.suppress(OverloadedError, ResourceClosedError):  # a write is under way, or the saver is closed
            self._saver.submit(self._save)

    def close(self) -> None:
        """Stop the saving thread, and save the cache if it has new vectors; blocks."""
        self._saver.close()
        self._save()

    def _save(self) -> None:
        insert_count = self._cache.insert_count
        if self._model_id is None or insert_count == self._saved_count:
            return
        keys, vectors = self._cache.entries()
        fitting = [i for i, vector in enumerate(vectors) if len(vector) == len(vectors[-1])]
        self._snapshot.save(self._model_id, [keys[i] for i in fitting], [vectors[i] for i in fitting])
        self._saved_count = insert_count
