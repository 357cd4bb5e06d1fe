"""Snapshot of the keyword index on disk, restored when a store is opened again.

It is derived data: a snapshot that is damaged, or of other rows, is ignored. Tantivy's files never change once written,
so saving them means linking them into another folder, beside a table of the rows that they were made from; a manifest
that names every file with its sha256 comes last. The next opening links the files back and adds what has changed since.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import tantivy
from pyroaring import BitMap

from super_advanced_agents._runtime.disk.files import (
    create_folder,
    give_to_owner_of,
    raise_if_out_of_descriptors,
    sha256_of,
)
from super_advanced_agents.stores.faiss.keywords.sources import SourceTable
from super_advanced_agents.stores.faiss.metadata.columns import array_of
from super_advanced_agents.stores.faiss.rows.table import RecordTable
from super_advanced_agents.stores.text.analyzer import VERSION
from super_advanced_agents.stores.text.languages import STEMMERS
from super_advanced_agents.telemetry import get_logger

_log = get_logger("store")

_FOLDER = "words"
_MANIFEST = "manifest.json"
_SEGMENTS = "meta.json"  # tantivy's list of its segments
_TABLE = "rows.npy"
_NEW = ".new"
_COMPARED_ROWS = 5_000
_FORMAT = [3, VERSION, tantivy.__version__]  # type: ignore[attr-defined]  # not in its stubs
"""The versions that a snapshot depends on; one of others is built again from the rows.

Format 2 had the texts of all tenants in one index.
"""


class SavedIndex(NamedTuple):
    """Hold the data that is saved beside the files of a keyword index.

    Attributes:
        table: the rows that the index was built from.
        average_lengths: field -> the mean number of tokens.
        languages: the languages of the indexed texts other than English.
    """

    table: SourceTable
    average_lengths: dict[str, float]
    languages: list[str]


class KeywordSnapshot:
    """Save and restore the keyword index in a store's `words` folder. Not thread-safe.

    A snapshot that this object saved or verified is not verified again while its files are the same: reading the texts
    of 2,000 rows takes 8 ms, linking the files 1 ms.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self._folder = folder / _FOLDER
        self._identity = identity
        self._verified: frozenset[tuple[str, int, int, int]] = frozenset()

    @property
    def exists(self) -> bool:
        """True if the folder of a saved keyword index exists, valid or not."""
        return self._folder.exists()

    def restore(self, folder: Path, rows: RecordTable, live: BitMap) -> SavedIndex | None:
        """Hard-link the saved index files into an empty folder, and verify them.

        Args:
            folder: the empty folder.
            rows: the table of records, whose texts must be those that were indexed.
            live: the rows that are searched.

        Returns:
            The data that was saved with the files; None if there is no valid snapshot.

        Raises:
            OverloadedError: too many files are open to read it.
        """
        try:
            body = self._checked_manifest()
            files = self._files()
            verified = bool(files) and files == self._verified
            table = self._table(body, verified=verified)
            for name, digest in body["files"].items():
                target = folder / Path(name).name
                if target.name == _TABLE:
                    continue  # not one of tantivy's, and the next save would write through the link
                _link_or_copy(self._folder / target.name, target)
                if not verified and sha256_of(target) != digest:
                    raise ValueError(f"{target.name} was altered")
            if not (folder / _SEGMENTS).exists():  # without it tantivy would create an empty index
                raise ValueError(f"{_SEGMENTS} is not among the files")
            average_lengths = {str(field): float(mean) for field, mean in body["averages"].items()}
            languages = [str(language) for language in body["languages"] if language in STEMMERS]
        except FileNotFoundError:
            return None  # never saved, or in part
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
            raise_if_out_of_descriptors(exc)
            _log.warning("store.words_ignored", extra={"reason": str(exc)[:200]})
            return None
        if not verified and not _matches_rows(table, rows, live):
            return None
        self._verified = files
        return SavedIndex(table, average_lengths, languages)

    def save(self, folder: Path, saved: SavedIndex) -> None:
        """Save the committed index files in `folder` as the snapshot, replacing the earlier one.

        Raises:
            OSError: it could not be written, or the index is being changed; the earlier snapshot may be gone.
        """
        new_folder = self._folder.with_suffix(_NEW)
        shutil.rmtree(new_folder, ignore_errors=True)
        create_folder(new_folder)
        for path in folder.iterdir():
            if not path.name.endswith(".lock"):
                _link_or_copy(path, new_folder / path.name)
        with (new_folder / _TABLE).open("wb") as file:
            np.save(file, saved.table, allow_pickle=False)
        body = {
            "format": _FORMAT,
            "identity": self._identity,
            "averages": saved.average_lengths,
            "languages": saved.languages,
            "files": {path.name: sha256_of(path) for path in new_folder.iterdir()},
        }
        digest = hashlib.sha256(orjson.dumps(body)).hexdigest()
        (new_folder / _MANIFEST).write_bytes(orjson.dumps({"sha256": digest, "body": body}))
        for path in new_folder.iterdir():
            path.chmod(0o600)  # tantivy makes its files readable for everybody
            give_to_owner_of(new_folder, path)
        shutil.rmtree(self._folder, ignore_errors=True)
        new_folder.rename(self._folder)
        self._verified = self._files()

    def _files(self) -> frozenset[tuple[str, int, int, int]]:
        # The identity of a file, which changes when it is replaced or written. It has no `ctime`, which links change.
        states = [(entry.name, entry.stat()) for entry in os.scandir(self._folder)]
        return frozenset((name, state.st_ino, state.st_size, state.st_mtime_ns) for name, state in states)

    def _checked_manifest(self) -> dict[str, Any]:
        content = orjson.loads((self._folder / _MANIFEST).read_bytes())
        body: dict[str, Any] = content["body"]
        if hashlib.sha256(orjson.dumps(body)).hexdigest() != content["sha256"]:
            raise ValueError("the manifest was altered")
        if (body["format"], body["identity"]) != (_FORMAT, self._identity):
            raise ValueError("it is of another store or version")
        return body

    def _table(self, body: dict[str, Any], *, verified: bool) -> SourceTable:
        path = self._folder / _TABLE
        if not verified and sha256_of(path) != body["files"][_TABLE]:
            raise ValueError("the table of rows was altered")
        table: SourceTable = np.load(path, allow_pickle=False)
        if table.dtype != np.uint32 or table.ndim != 2 or len(table) != 4:
            raise ValueError("the table of rows has another shape")
        return table


def text_checksums(rows: Sequence[int], texts: Mapping[int, tuple[int, str]]) -> list[int]:
    """Return a CRC-32 of each row's namespace number and text; 0 for a row without a text.

    Another text may get the same row number after an older database was restored and written to.
    """
    return [zlib.crc32(texts[row][1].encode(), texts[row][0]) if row in texts else 0 for row in rows]


def _matches_rows(table: SourceTable, rows: RecordTable, live: BitMap) -> bool:
    # False if the database was restored from an older copy and then written to.
    if not table.size or int(table[0, -1]) > rows.last_seq:
        return False
    common = table[:, np.isin(table[0], array_of(live))]
    for start in range(0, common.shape[1], _COMPARED_ROWS):
        page = common[:, start : start + _COMPARED_ROWS]
        numbers, checksums = page[0].tolist(), page[3].tolist()
        if text_checksums(numbers, rows.texts(numbers)) != checksums:
            return False
    return True


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)
