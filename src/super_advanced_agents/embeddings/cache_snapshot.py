"""The memory of vectors on disk, so that a restart does not compute again what everybody asks for.

One file, written beside its name, flushed and renamed. It holds digests of texts, never texts; but a vector tells much
of its text, and a digest whether a guess is right, so only the user of the process may read it. What is damaged, or of
another model, is left aside: everything in it can be computed again.
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

from super_advanced_agents._runtime.batcher import Workers
from super_advanced_agents._runtime.flushing import fsync_folder
from super_advanced_agents.embeddings.cache import VectorCache
from super_advanced_agents.errors import OverloadedError, ResourceClosedError
from super_advanced_agents.telemetry import get_logger
from super_advanced_agents.types import Matrix, Vector

_log = get_logger("embeddings")
_MAGIC = b"SAAVEC\x00\x01"
_LENGTH = struct.Struct("<I")
_KEY_BYTES = 16
_DIGEST_BYTES = 32
_SAVED_AFTER = 256
_SAVED_EVERY_S = 60.0
"""It is written when so many vectors are new and the last time is so long ago; a crash costs no more than those."""


class _DamagedError(Exception):
    """The file is not what was written; only ever caught here."""


class VectorCacheSnapshot:
    """One file of vectors. Blocking; used by one thread at a time.

    Args:
        path: the file; its folder is made when missing.
        max_bytes: a longer file is not read.
    """

    def __init__(self, path: Path, *, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes

    def load(self, model_id: str) -> tuple[list[bytes], Matrix]:
        """The keys, least recently used first, and their vectors (n, dim); none where the file is of no use."""
        try:
            return self._read(model_id)
        except FileNotFoundError:
            pass
        except (_DamagedError, OSError, ValueError, KeyError, TypeError, struct.error) as exc:
            reason = (exc.strerror or str(exc)) if isinstance(exc, OSError) else str(exc)
            _log.warning("embeddings.cache_ignored", extra={"path": str(self._path), "reason": reason[:200]})
        return [], np.empty((0, 0), np.float32)

    def save(self, model_id: str, keys: Sequence[bytes], vectors: Sequence[Vector]) -> None:
        """Write them in place of what was kept; a failure is logged, and leaves the file as it was."""
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
        beside = self._path.with_name(f"{self._path.name}.{os.getpid()}.tmp")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
                with beside.open("wb") as file:
                    file.writelines([*parts, digest.digest()])
                    file.flush()
                    os.fsync(file.fileno())
                beside.replace(self._path)
            except OSError:
                with contextlib.suppress(OSError):
                    beside.unlink()
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
            raise _DamagedError("the file is none of vectors")
        body, told = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
        if hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest() != told:
            raise _DamagedError("the file was altered, or not written whole")
        start = len(_MAGIC) + _LENGTH.size
        [length] = _LENGTH.unpack(body[len(_MAGIC) : start])
        header = orjson.loads(body[start : start + length])
        if header["model_id"] != model_id:
            raise _DamagedError("the vectors are of another model")
        count, dim = int(header["count"]), int(header["dim"])
        keys = body[start + length : start + length + count * _KEY_BYTES]
        vectors = np.frombuffer(body[start + length + len(keys) :], "<f4").reshape(count, dim).astype(np.float32)
        if not np.isfinite(vectors).all():
            raise _DamagedError("a vector is not finite")
        return [bytes(keys[i : i + _KEY_BYTES]) for i in range(0, len(keys), _KEY_BYTES)], vectors


class CacheSaver:
    """Loads a cache from its file once, and writes it back: now and then in a thread of its own, and when closed.

    Args:
        cache: in memory.
        path: the file.
        max_bytes: of the cache.
    """

    def __init__(self, cache: VectorCache, path: Path, *, max_bytes: int) -> None:
        self._cache = cache
        self._file = VectorCacheSnapshot(path, max_bytes=2 * max_bytes)
        self._model_id: str | None = None
        self._saved = 0
        self._saved_at = time.monotonic()
        self._saver = Workers(name="embeddings cache", threads=1, max_queue=1)

    def load(self, model_id: str) -> None:
        """Take up what was kept of this model, the first time. Blocks."""
        if self._model_id is None:
            keys, vectors = self._file.load(model_id)
            self._cache.put(keys, list(vectors))
            self._saved = self._cache.put_count
            self._model_id = model_id

    def save_if_due(self) -> None:
        """Write the file if it is time to; returns at once."""
        if self._cache.put_count - self._saved < _SAVED_AFTER or time.monotonic() - self._saved_at < _SAVED_EVERY_S:
            return
        self._saved_at = time.monotonic()
        with contextlib.suppress(OverloadedError, ResourceClosedError):  # it is being written, or closed
            self._saver.submit(self._save)

    def close(self) -> None:
        """Write what is new. Blocks."""
        self._saver.close()
        self._save()

    def _save(self) -> None:
        put = self._cache.put_count
        if self._model_id is None or put == self._saved:
            return
        keys, vectors = self._cache.entries()
        fitting = [i for i, vector in enumerate(vectors) if len(vector) == len(vectors[-1])]
        self._file.save(self._model_id, [keys[i] for i in fitting], [vectors[i] for i in fitting])
        self._saved = put
