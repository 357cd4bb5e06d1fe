"""Export of a vector store's records to a JSON lines or Parquet file, page by page."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents._runtime.concurrency.sync_bridge import run_sync
from super_advanced_agents._runtime.disk.files import map_os_error
from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.stores.transfer.jsonl import JsonlWriter
from super_advanced_agents.stores.transfer.layout import FileFormat, Header, Item, Part, Writer
from super_advanced_agents.stores.transfer.output import OutputFile
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
    """Export a store's records to a JSON lines or Parquet file, and return their number.

    Some hundred records are in memory at a time. The store can be read and written meanwhile; each record is exported
    as it was when its page was read. Cancelling leaves no file behind.

    Args:
        store: the store to read.
        target: the path of the file, which appears under its name once it is complete; or an open binary file, which
            stays open.
        file_format: `"jsonl"` or `"parquet"` (needs the extra `parquet`); chosen by the suffix of `target` when None.
        namespace: the namespace to export; all of them when None.
        where: a filter over metadata; all records when None.
        vectors: False leaves the vectors out, so that an import must embed the texts again.
        on_records: called after each page with the number of records written so far.

    Returns:
        The number of records written.

    Raises:
        ConfigurationError: `file_format` is unknown, pyarrow is missing, or the store holds records of several tenants.
        StoreError: the file cannot be written.
        StoreFullError: the disk is full.
    """
    stats = await store.astats()
    if namespace is None and stats.get("tenants", 1) != 1:
        raise ConfigurationError(
            "the store holds memories of several tenants, which the export of a store would mix",
            hint="use `saa export`, which tells the tenant of each record, or name a namespace",
        )
    metric = stats.get("metric")
    header = Header(
        dim=store.dim,
        metric=metric if isinstance(metric, str) else None,
        vectors=vectors,
        namespace=namespace,
        created_at=time.time(),
    )
    export = ExportFile(target, file_format, header)
    exported = 0
    try:
        await in_thread(export.open, name="export")
        after: str | None = None
        while page := await store.ascan(where, after=after, limit=_PAGE_RECORDS, namespace=namespace):
            await in_thread(partial(export.write, page, Part()), name="export")
            after = page[-1].uid
            exported += len(page)
            if on_records is not None:
                on_records(exported)
        await in_thread(export.finish, name="export")
    except BaseException:
        await in_thread(export.abort, name="export")
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
    """Export a store's records to a JSON lines or Parquet file, and return their number.

    This is the blocking form of `aexport_records`.
    """
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


class ExportFile:
    """Write an export file, which gets its name when it is complete.

    The methods block. `abort` may be called from another thread while a step still runs.

    Args:
        target: the path of the file, or an open binary file, which stays open.
        file_format: `"jsonl"` or `"parquet"`; chosen by the suffix of `target` when None.
        header: the header of the export.

    Raises:
        ConfigurationError: `file_format` is unknown.
    """

    def __init__(
        self, target: str | os.PathLike[str] | IO[bytes], file_format: FileFormat | None, header: Header
    ) -> None:
        self._target = target
        self._format = _resolve_format(target, file_format)
        self._header = header
        self._output: OutputFile | None = None
        self._writer: Writer | None = None
        self._aborted = False
        self._lock = threading.Lock()

    def open(self) -> None:
        """Create a temporary file beside the target, and write the header.

        Raises:
            StoreError: the file cannot be written.
            ConfigurationError: pyarrow is missing.
        """
        with self._lock:
            if self._aborted:
                return
            try:
                if isinstance(self._target, str | os.PathLike):
                    self._output = OutputFile(Path(self._target))
                    file = self._output.file
                else:
                    file = self._target
                writer = ParquetWriter if self._format == "parquet" else JsonlWriter
                self._writer = writer(file, self._header)
            except OSError as exc:
                raise map_os_error(exc, self._name) from exc

    def add_item(self, item: Item) -> None:
        """Append the settings of an agent or a collection."""
        with self._lock, self._translated():
            if self._writer is not None:
                self._writer.add_item(item)

    def write(self, records: list[Record], part: Part) -> None:
        """Append records of one part."""
        with self._lock, self._translated():
            if self._writer is not None:
                self._writer.write(records, part)

    def finish(self) -> None:
        """Complete the file, flush it to the disk and give it its name."""
        with self._lock, self._translated():
            if self._writer is None:
                return
            self._writer.finish()
            if self._output is not None:
                self._output.commit()
                self._output = None

    def abort(self) -> None:
        """Delete the temporary file; nothing that is called later has an effect."""
        with self._lock:
            self._aborted = True
            self._writer = None
            if self._output is not None:
                self._output.discard()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Enter a context that opens the file, and completes it, or deletes it on an error."""
        try:
            self.open()
            yield
            self.finish()
        except BaseException:
            self.abort()
            raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as exc:
            raise map_os_error(exc, self._name) from exc

    @property
    def _name(self) -> object:
        return (
            self._target if isinstance(self._target, str | os.PathLike) else getattr(self._target, "name", "the file")
        )


def _resolve_format(target: str | os.PathLike[str] | IO[bytes], file_format: FileFormat | None) -> FileFormat:
    if file_format is None:
        name = os.fspath(target) if isinstance(target, str | os.PathLike) else ""
        return "parquet" if name.endswith((".parquet", ".pq")) else "jsonl"
    if file_format not in ("jsonl", "parquet"):
        raise ConfigurationError(f"file_format must be 'jsonl' or 'parquet', not {file_format!r}")
    return file_format
