"""Snapshots of FAISS segments on disk, so that opening a store rebuilds no graphs.

They are derived data: an invalid snapshot is ignored, and its segments are rebuilt. Each file is written under a
temporary name, flushed, and renamed; the manifest comes last and names every file with its sha256. Two manifests are
kept, so a crash at any point leaves a valid one. A graph's file holds its links and 8-bit codes, a quarter of the size
of the vectors, which only the table stores.

The settings table names the manifests that belong to it. A restored older database, or an `index` folder copied from
another day, names other manifests: segments of a history that the database does not have are ignored.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import orjson

from super_advanced_agents._runtime.disk.files import (
    create_folder,
    fsync_folder,
    private_file,
    raise_if_out_of_descriptors,
    sha256_of,
)
from super_advanced_agents.stores.faiss.rows.table import RecordTable
from super_advanced_agents.stores.faiss.vectors.builder import BuiltSegment
from super_advanced_agents.stores.faiss.vectors.segment import RowNumbers, Segment
from super_advanced_agents.telemetry import get_logger

if TYPE_CHECKING:
    import faiss

_log = get_logger("store")
_FORMAT = 2
_KEPT_MANIFESTS = 2
_SETTING = "snapshots"


class _DamagedError(Exception):
    """Signal that a snapshot file is missing, altered or of another store.

    Only this module catches it.
    """


class Snapshots:
    """Save and load the FAISS indexes of a store in its `index` folder. Not thread-safe.

    Args:
        folder: the store's folder.
        rows: the table that the segments are built from.
        shape: dimension, index kind and storage of the store's segments; a snapshot of another shape is ignored.
    """

    def __init__(self, folder: Path, rows: RecordTable, shape: dict[str, str | int]) -> None:
        self._folder = folder / "index"
        self._rows = rows
        self._shape = shape
        self._entries: dict[Segment, dict[str, str | None]] = {}  # the manifest entry of each segment that is on disk
        self._loaded_entries: list[dict[str, str | None]] = []

    # -- reading --------------------------------------------------------------------------------------------------

    def load(self) -> list[tuple[RowNumbers, faiss.Index | None]]:
        """Load the newest valid snapshot: the row numbers and FAISS index of each segment.

        Returns an empty list if there is no valid snapshot. A segment is a set of rows with one FAISS index.

        Raises:
            OverloadedError: too many files are open to read it.
        """
        known = self._tokens()
        for manifest in reversed(self._manifests()):
            try:
                return self._read(manifest, known)
            except (_DamagedError, OSError, RuntimeError, ValueError, KeyError, TypeError) as exc:
                raise_if_out_of_descriptors(exc)
                _log.warning("store.snapshot_ignored", extra={"manifest": manifest.name, "reason": str(exc)[:200]})
        return []

    def adopt(self, segments: Sequence[Segment]) -> None:
        """Record that these FAISS segments are on disk already, because `load` has read them."""
        self._entries = dict(zip(segments, self._loaded_entries, strict=True))

    def reshape(self, dim: int) -> None:
        """Set the vector length that snapshots must have, after a re-embedding changed it."""
        self._shape = {**self._shape, "dim": dim}
        self._entries = {}

    def _read(self, manifest: Path, known: list[str]) -> list[tuple[RowNumbers, faiss.Index | None]]:
        content = orjson.loads(manifest.read_bytes())
        body = content["body"]
        if hashlib.sha256(orjson.dumps(body)).hexdigest() != content["sha256"]:
            raise _DamagedError("the manifest was altered")
        if (body["format"], body["identity"], body["shape"]) != (_FORMAT, self._rows.identity, self._shape):
            raise _DamagedError("the manifest is of another store or version")
        if body["token"] not in known:
            raise _DamagedError("the manifest is of another history of this store")
        entries = body["segments"]
        segments = [self._read_segment(entry) for entry in entries]
        numbers = np.concatenate([rows for rows, _ in segments]) if segments else np.empty(0, np.uint32)
        if len(numbers) and not (np.diff(numbers.astype(np.int64)) > 0).all():
            raise _DamagedError("the segments overlap")
        self._loaded_entries = entries
        return segments

    def _read_segment(self, entry: dict[str, str | None]) -> tuple[RowNumbers, faiss.Index | None]:
        import faiss

        rows: Any = np.load(self._verified_path(entry["rows"], entry["rows_sha256"]), allow_pickle=False)
        if rows.dtype != np.uint32 or rows.ndim != 1 or not len(rows):
            raise _DamagedError("a segment's file holds no row numbers")
        name = entry["index"]
        if name is None:
            return rows, None
        index = faiss.read_index(str(self._verified_path(name, entry["index_sha256"] or "")))
        if index.d != self._shape["dim"] or index.ntotal != len(rows):
            raise _DamagedError("a segment does not fit its rows")
        return rows, index

    def _verified_path(self, name: str | None, sha256: str | None) -> Path:
        if name is None:
            raise _DamagedError("a segment lacks a file")
        path = self._folder / Path(name).name
        if path.is_symlink() or sha256_of(path) != sha256:
            raise _DamagedError(f"{path.name} was altered")
        return path

    def _tokens(self) -> list[str]:
        return str(self._rows.setting(_SETTING) or "").split()

    # -- writing --------------------------------------------------------------------------------------------------

    def write_segment(self, built: BuiltSegment) -> dict[str, str | None] | None:
        """Write the row numbers and the FAISS index of a segment to files.

        Returns its manifest entry (file names and checksums); None if the files could not be written.
        """
        import faiss

        stem = f"segment-{uuid4().hex}"
        try:
            create_folder(self._folder)
            entry: dict[str, str | None] = {"rows": f"{stem}.npy", "index": None, "index_sha256": None}
            entry["rows_sha256"] = self._write(f"{stem}.npy", lambda path: _save_array(path, built.rows))
            if built.index is not None:
                entry["index"] = f"{stem}.faiss"
                entry["index_sha256"] = self._write(
                    f"{stem}.faiss", lambda path: faiss.write_index(built.index, str(path))
                )
        except OSError as exc:
            _log.warning("store.snapshot_failed", extra={"reason": exc.strerror or str(exc)})
            return None
        return entry

    def save(self, segments: Sequence[Segment], new: Segment, entry: dict[str, str | None]) -> str:
        """Write a snapshot's manifest, which lists the files of the segments that are on disk.

        It lists the oldest segments, up to the first that is not on disk. Files that no kept manifest names are
        deleted.

        Args:
            segments: all sealed segments, oldest first.
            new: the segment that was written last.
            entry: its manifest entry.

        Returns:
            The manifest's token; the manifest is valid once `confirm` has stored the token in the table.

        Raises:
            OSError: the manifest could not be written; earlier snapshots stay valid.
        """
        self._entries = {segment: self._entries[segment] for segment in segments if segment in self._entries}
        if new in segments:  # not when the store was re-embedded meanwhile
            self._entries[new] = entry
        entries = []
        for segment in segments:
            if segment not in self._entries:
                break
            entries.append(self._entries[segment])
        token = uuid4().hex
        body = {
            "format": _FORMAT,
            "identity": self._rows.identity,
            "shape": self._shape,
            "token": token,
            "segments": entries,
        }
        manifests = self._manifests()
        number = 1 + (int(manifests[-1].stem.removeprefix("manifest-")) if manifests else 0)
        content = orjson.dumps({"sha256": hashlib.sha256(orjson.dumps(body)).hexdigest(), "body": body})
        self._write(f"manifest-{number:08d}.json", lambda path: path.write_bytes(content))
        self._drop_old()
        return token

    def confirm(self, token: str) -> None:
        """Make a snapshot valid by storing the token of its manifest in SQLite.

        The writer thread calls it.
        """
        with self._rows.transaction():
            self._rows.set_setting(_SETTING, " ".join([*self._tokens(), token][-_KEPT_MANIFESTS:]))

    def discard(self) -> None:
        """Delete all snapshot files, because they do not match the rows of the table.

        Later, when the table holds more rows, they could pass the checks of `load`.
        """
        self._entries = {}
        for path in [*self._manifests(), *self._folder.glob("segment-*")]:
            path.unlink(missing_ok=True)

    def _write(self, name: str, fill: Callable[[Path], object]) -> str:
        temporary = self._folder / f"{name}.tmp"
        try:
            fill(private_file(temporary))
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            digest = sha256_of(temporary)
            temporary.rename(self._folder / name)
        except RuntimeError as exc:  # FAISS raises it for a failed write
            raise OSError(f"{name} could not be written") from exc
        finally:
            temporary.unlink(missing_ok=True)
        fsync_folder(self._folder)
        return digest

    def _manifests(self) -> list[Path]:
        return sorted(self._folder.glob("manifest-[0-9]*.json"))

    def _drop_old(self) -> None:
        manifests = self._manifests()
        named: set[str | None] = set()
        for manifest in manifests[-_KEPT_MANIFESTS:]:
            try:
                for entry in orjson.loads(manifest.read_bytes())["body"]["segments"]:
                    named |= {entry["index"], entry["rows"]}
            except (OSError, ValueError, KeyError, TypeError):
                continue  # the files of a damaged manifest are useless
        for path in [*manifests[:-_KEPT_MANIFESTS], *self._folder.glob("segment-*")]:
            if path.name not in named:
                path.unlink(missing_ok=True)


def damaged_file(manifest: Path) -> str:
    """Return the first file of a snapshot whose checksum is wrong; an empty string if none is.

    Raises:
        OSError, ValueError, KeyError, TypeError: a file cannot be read, or `manifest` is not a manifest.
    """
    content = orjson.loads(manifest.read_bytes())
    if hashlib.sha256(orjson.dumps(content["body"])).hexdigest() != content["sha256"]:
        return manifest.name
    for entry in content["body"]["segments"]:
        for kind in ("index", "rows"):
            name = entry[kind]
            if name is not None and sha256_of(manifest.parent / Path(name).name) != entry[f"{kind}_sha256"]:
                return str(name)
    return ""


def _save_array(path: Path, rows: RowNumbers) -> None:
    with path.open("wb") as file:
        np.save(file, rows, allow_pickle=False)
