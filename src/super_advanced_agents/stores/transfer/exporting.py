"""Every record of a store into one file, a page at a time."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO

from super_advanced_agents._runtime.futures import in_thread
from super_advanced_agents._runtime.sync_bridge import run_sync
from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.stores.transfer.jsonl import JsonlWriter
from super_advanced_agents.stores.transfer.layout import FileFormat, Header, Writer
from super_advanced_agents.stores.transfer.output import OutputFile, translated
from super_advanced_agents.stores.transfer.parquet import ParquetWriter
from super_advanced_agents.types import Record, Where

_PAGE_RECORDS = 500


async def aexport_records(
    store: VectorStore,
    target: str | os.PathLike[str] | IO[bytes],
    *,
    file_format: FileFormat | None = None,
    namespace: str | None = None,
    where: Where | None = None,
    vectors: bool = True,
    on_records: Callable[[int], None] | None = None,
) -> int:
    """Write records with all their fields to a file, which `import_records` restores in any store.

    A few hundred records are in memory at a time. Reads and writes of the store go on meanwhile; each record is
    written as it was when its page was read.

    Args:
        store: whose records.
        target: a file, which appears under its name when it is whole; or an open one, which stays open.
        file_format: `"jsonl"` or `"parquet"` (needs the extra `parquet`); told by the name's ending when None.
        namespace: only its records; all when None.
        where: only matching records.
        vectors: with their vectors; without, an import must embed the texts again.
        on_records: told how many are written, after each page.

    Returns:
        How many records were written.

    Raises:
        ConfigurationError: `file_format` is neither, or pyarrow is missing.
        StoreError: the file cannot be written, or `StoreFullError` when there is no room.

    Cancelled, it leaves no file behind.
    """
    stats = await store.astats()
    metric = stats.get("metric")
    header = Header(
        dim=store.dim,
        metric=metric if isinstance(metric, str) else None,
        vectors=vectors,
        namespace=namespace,
        created_at=time.time(),
    )
    export = _Export(target, _format(target, file_format), header)
    exported = 0
    try:
        await in_thread(export.begin, name="export")
        after: str | None = None
        while page := await store.ascan(where, after=after, limit=_PAGE_RECORDS, namespace=namespace):
            await in_thread(partial(export.write, page), name="export")
            after = page[-1].uid
            exported += len(page)
            if on_records is not None:
                on_records(exported)
        await in_thread(export.finish, name="export")
    except BaseException:
        await in_thread(export.abandon, name="export")
        raise
    return exported


def export_records(
    store: VectorStore,
    target: str | os.PathLike[str] | IO[bytes],
    *,
    file_format: FileFormat | None = None,
    namespace: str | None = None,
    where: Where | None = None,
    vectors: bool = True,
    on_records: Callable[[int], None] | None = None,
) -> int:
    """The blocking twin of `aexport_records`."""
    return run_sync(
        aexport_records(
            store,
            target,
            file_format=file_format,
            namespace=namespace,
            where=where,
            vectors=vectors,
            on_records=on_records,
        )
    )


class _Export:
    """The file of one export; each step in a thread, one at a time, none after `abandon`."""

    def __init__(self, target: str | os.PathLike[str] | IO[bytes], file_format: FileFormat, header: Header) -> None:
        self._target = target
        self._format = file_format
        self._header = header
        self._output: OutputFile | None = None
        self._writer: Writer | None = None
        self._abandoned = False
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Open the file and write its header."""
        with self._lock:
            if self._abandoned:
                return
            try:
                if isinstance(self._target, str | os.PathLike):
                    self._output = OutputFile(Path(self._target))
                    file = self._output.file
                else:
                    file = self._target
                made = ParquetWriter if self._format == "parquet" else JsonlWriter
                self._writer = made(file, self._header)
            except OSError as exc:
                raise translated(exc, self._name) from exc

    def write(self, records: list[Record]) -> None:
        """Write a page."""
        with self._lock:
            if self._writer is not None:
                try:
                    self._writer.write(records)
                except BrokenPipeError:
                    raise
                except OSError as exc:
                    raise translated(exc, self._name) from exc

    def finish(self) -> None:
        """Write the end, and give the file its name."""
        with self._lock:
            if self._writer is None:
                return
            try:
                self._writer.finish()
                if self._output is not None:
                    self._output.keep()
                    self._output = None
            except BrokenPipeError:
                raise
            except OSError as exc:
                raise translated(exc, self._name) from exc

    def abandon(self) -> None:
        """Leave nothing behind."""
        with self._lock:
            self._abandoned = True
            self._writer = None
            if self._output is not None:
                self._output.drop()

    @property
    def _name(self) -> object:
        return (
            self._target if isinstance(self._target, str | os.PathLike) else getattr(self._target, "name", "the file")
        )


def _format(target: str | os.PathLike[str] | IO[bytes], file_format: FileFormat | None) -> FileFormat:
    if file_format is None:
        name = os.fspath(target) if isinstance(target, str | os.PathLike) else ""
        return "parquet" if name.endswith((".parquet", ".pq")) else "jsonl"
    if file_format not in ("jsonl", "parquet"):
        raise ConfigurationError(f"file_format must be 'jsonl' or 'parquet', not {file_format!r}")
    return file_format
