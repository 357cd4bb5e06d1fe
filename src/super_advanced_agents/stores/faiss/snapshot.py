"""Sealed segments on disk, so that opening builds no graphs again. Derived data: what is wrong is ignored and rebuilt.

Each file is written beside its name, flushed, and renamed; the manifest comes last and names every file with its
sha256. Two manifests are kept: a crash at any point leaves one that is whole.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import faiss
import numpy as np
import orjson

from super_advanced_agents.stores.faiss.schema import fsync_folder
from super_advanced_agents.stores.faiss.segments import Segment, graph_segment
from super_advanced_agents.telemetry import get_logger

_log = get_logger("store")
_FORMAT = 1
_KEPT = 2
_HASH_BYTES = 1024 * 1024


class _DamagedError(Exception):
    """A snapshot file is missing, altered, or of another store; only ever caught in this module."""


class Snapshots:
    """The `index` folder of one store. Used by one thread at a time."""

    def __init__(self, folder: Path, dim: int, identity: str) -> None:
        self._folder = folder / "index"
        self._dim = dim
        self._identity = identity
        self._files: dict[Segment, dict[str, str]] = {}  # the manifest's entry of each segment that is on disk

    def load(self) -> tuple[list[Segment], int]:
        """The newest whole snapshot: its segments, and the row up to which they cover all rows; none and 0 if none."""
        for manifest in reversed(self._manifests()):
            try:
                segments, last_row = self._read(manifest)
            except (_DamagedError, OSError, RuntimeError, ValueError, KeyError, TypeError) as exc:
                _log.warning("store.snapshot_ignored", extra={"manifest": manifest.name, "reason": str(exc)[:200]})
                continue
            return segments, last_row
        return [], 0

    def save(self, segments: list[Segment], last_row: int) -> None:
        """Write what is not on disk yet, then a manifest of all of it, then drop what no kept manifest names.

        Raises:
            OSError: it could not be written; the snapshots that were there still stand.
        """
        self._folder.mkdir(exist_ok=True)
        entries = []
        for segment in segments:
            if segment not in self._files:
                self._files[segment] = self._write_segment(segment)
            entries.append(self._files[segment])
        body = {
            "format": _FORMAT,
            "identity": self._identity,
            "dim": self._dim,
            "last_row": last_row,
            "segments": entries,
        }
        encoded = orjson.dumps(body)
        manifests = self._manifests()
        number = 1 + (int(manifests[-1].stem.removeprefix("manifest-")) if manifests else 0)
        content = orjson.dumps({"sha256": hashlib.sha256(encoded).hexdigest(), "body": body})
        self._write(f"manifest-{number:08d}.json", lambda path: path.write_bytes(content))
        self._files = {segment: self._files[segment] for segment in segments}
        self._drop_old()

    def discard(self) -> None:
        """Drop every file: they are of other rows, and must not seem to fit when these have grown."""
        self._files = {}
        for path in [*self._manifests(), *self._folder.glob("segment-*")]:
            path.unlink(missing_ok=True)

    def _read(self, manifest: Path) -> tuple[list[Segment], int]:
        content = orjson.loads(manifest.read_bytes())
        body = content["body"]
        if hashlib.sha256(orjson.dumps(body)).hexdigest() != content["sha256"]:
            raise _DamagedError("the manifest was altered")
        if (body["format"], body["identity"], body["dim"]) != (_FORMAT, self._identity, self._dim):
            raise _DamagedError("the manifest is of another store or version")
        files: dict[Segment, dict[str, str]] = {}
        for entry in body["segments"]:
            rows_file = self._checked(entry["rows"], entry["rows_sha256"])
            graph_file = self._checked(entry["graph"], entry["graph_sha256"])
            rows = np.load(rows_file, allow_pickle=False)
            graph = faiss.read_index(str(graph_file))
            if graph.d != self._dim or rows.shape != (graph.ntotal,) or rows.dtype != np.uint32:
                raise _DamagedError("a segment does not fit its rows")
            files[graph_segment(rows, graph)] = entry
        self._files = files
        return list(files), int(body["last_row"])

    def _checked(self, name: str, sha256: str) -> Path:
        path = self._folder / Path(name).name
        if _sha256(path) != sha256:
            raise _DamagedError(f"{path.name} was altered")
        return path

    def _write_segment(self, segment: Segment) -> dict[str, str]:
        assert segment.graph is not None
        stem = f"segment-{uuid4().hex}"
        graph, rows = f"{stem}.faiss", f"{stem}.npy"
        return {
            "graph": graph,
            "graph_sha256": self._write(graph, lambda path: faiss.write_index(segment.graph, str(path))),
            "rows": rows,
            "rows_sha256": self._write(rows, lambda path: _save_array(path, segment.rows)),
        }

    def _write(self, name: str, fill: Callable[[Path], object]) -> str:
        """Place a file in one step; returns its sha256."""
        temporary = self._folder / f"{name}.tmp"
        try:
            fill(temporary)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            digest = _sha256(temporary)
            temporary.rename(self._folder / name)
        except RuntimeError as exc:  # how FAISS tells that it could not write
            raise OSError(f"{name} could not be written") from exc
        finally:
            temporary.unlink(missing_ok=True)
        fsync_folder(self._folder)
        return digest

    def _manifests(self) -> list[Path]:
        return sorted(self._folder.glob("manifest-[0-9]*.json"))

    def _drop_old(self) -> None:
        manifests = self._manifests()
        named: set[str] = set()
        for manifest in manifests[-_KEPT:]:
            try:
                for entry in orjson.loads(manifest.read_bytes())["body"]["segments"]:
                    named |= {entry["graph"], entry["rows"]}
            except (OSError, ValueError, KeyError, TypeError):
                continue  # a damaged one names nothing worth keeping
        for path in [*manifests[:-_KEPT], *self._folder.glob("segment-*")]:
            if path.name not in named:
                path.unlink(missing_ok=True)


def _save_array(path: Path, rows: np.ndarray[tuple[int], np.dtype[np.uint32]]) -> None:
    with path.open("wb") as file:
        np.save(file, rows, allow_pickle=False)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASH_BYTES):
            digest.update(block)
    return digest.hexdigest()
