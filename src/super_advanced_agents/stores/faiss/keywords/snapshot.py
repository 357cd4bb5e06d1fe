"""The word index between two openings of a store. Derived data: what is missing, damaged or of other rows is dropped.

The library's files never change once written, so keeping them is linking them into a folder of their own, beside a
table of what they were made from; a manifest that names every file with its sha256 comes last. Whoever opens the store
next links them back, and adds what has changed since.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import tantivy
from numpy.typing import NDArray

from super_advanced_agents._runtime.files import sha256_of
from super_advanced_agents.stores.faiss.keywords.analyzer import VERSION
from super_advanced_agents.telemetry import get_logger

_log = get_logger("store")

_FOLDER = "words"
_MANIFEST = "manifest.json"
_SEGMENTS = "meta.json"  # the library's own list of its segments
_TABLE = "rows.npy"
_NEW = ".new"
_FORMAT = [2, VERSION, tantivy.__version__]  # type: ignore[attr-defined]  # not in its stubs

SourceTable = NDArray[np.uint32]
"""(4, n): for each row, ascending, its number, the row before it, the row after it, and the check sum of its text."""


class SavedIndex(NamedTuple):
    """What was kept: the rows the index was made from, and the mean number of words in each field."""

    table: SourceTable
    average_lengths: dict[str, float]


class KeywordSnapshot:
    """The `words` folder of one store. Used by one thread at a time."""

    def __init__(self, folder: Path, identity: str) -> None:
        self._folder = folder / _FOLDER
        self._identity = identity

    @property
    def exists(self) -> bool:
        """Whether anything was kept."""
        return self._folder.exists()

    def restore(self, home: Path) -> SavedIndex | None:
        """Link what was kept into an empty folder, if it is whole and of this store."""
        try:
            body = self._checked_manifest()
            table = self._table(body)
            for name, digest in body["files"].items():
                placed = home / Path(name).name
                if placed.name == _TABLE:
                    continue  # it is not the library's, and would be written over where it is linked
                _place(self._folder / placed.name, placed)
                if sha256_of(placed) != digest:
                    raise ValueError(f"{placed.name} was altered")
            if not (home / _SEGMENTS).exists():  # without it the library would begin an empty index
                raise ValueError(f"{_SEGMENTS} is not among the files")
            average_lengths = {str(field): float(mean) for field, mean in body["averages"].items()}
        except FileNotFoundError:
            return None  # never kept, or half of it
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
            _log.warning("store.words_ignored", extra={"reason": str(exc)[:200]})
            return None
        return SavedIndex(table, average_lengths)

    def save(self, home: Path, kept: SavedIndex) -> None:
        """Keep the index in `home` as it was last committed, in place of what was kept before.

        Raises:
            OSError: it could not be written, or the index is being changed; what was kept before may be gone.
        """
        fresh = self._folder.with_suffix(_NEW)
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        for path in home.iterdir():
            if not path.name.endswith(".lock"):
                _place(path, fresh / path.name)
        with (fresh / _TABLE).open("wb") as file:
            np.save(file, kept.table, allow_pickle=False)
        body = {
            "format": _FORMAT,
            "identity": self._identity,
            "averages": kept.average_lengths,
            "files": {path.name: sha256_of(path) for path in fresh.iterdir()},
        }
        digest = hashlib.sha256(orjson.dumps(body)).hexdigest()
        (fresh / _MANIFEST).write_bytes(orjson.dumps({"sha256": digest, "body": body}))
        shutil.rmtree(self._folder, ignore_errors=True)
        fresh.rename(self._folder)

    def discard(self) -> None:
        """Drop what was kept."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _checked_manifest(self) -> dict[str, Any]:
        content = orjson.loads((self._folder / _MANIFEST).read_bytes())
        body: dict[str, Any] = content["body"]
        if hashlib.sha256(orjson.dumps(body)).hexdigest() != content["sha256"]:
            raise ValueError("the manifest was altered")
        if (body["format"], body["identity"]) != (_FORMAT, self._identity):
            raise ValueError("it is of another store or version")
        return body

    def _table(self, body: dict[str, Any]) -> SourceTable:
        path = self._folder / _TABLE
        if sha256_of(path) != body["files"][_TABLE]:
            raise ValueError("the table of rows was altered")
        table: SourceTable = np.load(path, allow_pickle=False)
        if table.dtype != np.uint32 or table.ndim != 2 or len(table) != 4:
            raise ValueError("the table of rows has another shape")
        return table


def text_checksum(scope: int, text: str) -> int:
    """What tells a text from another that had the same row number in another history of the store."""
    return zlib.crc32(text.encode(), scope)


def _place(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copyfile(source, target)
