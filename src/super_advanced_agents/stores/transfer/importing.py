"""Import of an export file into a vector store, with its vectors or newly computed ones."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TypeAlias

from super_advanced_agents._runtime.futures import in_thread
from super_advanced_agents._runtime.sync_bridge import run_sync
from super_advanced_agents.errors import DimensionMismatchError, InvalidInputError, ModelMismatchError
from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.stores.embedder import Embedder
from super_advanced_agents.stores.transfer.jsonl import JsonlReader
from super_advanced_agents.stores.transfer.layout import Entry, Header, sniff
from super_advanced_agents.stores.transfer.parquet import ParquetReader
from super_advanced_agents.types import Record

_MAX_TROUBLES = 1_000
_INDEX = re.compile(r"^\w+\[(\d+)\]")
_REEMBED_HINT = "embed the texts again with the current model: saa import --reembed, or embedder="


Source: TypeAlias = "str | os.PathLike[str] | IO[bytes] | JsonlReader | ParquetReader"
"""The path of an export, an open export in JSON lines, or a result of `open_export`."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Describe a record of an export file that could not be imported: its line and the reason.

    Attributes:
        line: its line, or its row in Parquet, counted from 1.
        why: the reason, as the end of a sentence about the record.
    """

    line: int
    why: str


@dataclass(slots=True, kw_only=True)
class Imported:
    """Count the records that an import has stored, and those that failed, with the reasons.

    Attributes:
        stored: the number of records stored durably.
        failed: the number of lines that could not be imported.
        read_bytes: the number of bytes read from the file.
        troubles: the first 1,000 failures.
    """

    stored: int = 0
    failed: int = 0
    read_bytes: int = 0
    troubles: list[Trouble] = field(default_factory=list)


async def aimport_records(
    store: VectorStore,
    source: Source,
    *,
    namespace: str | None = None,
    embedder: Embedder | None = None,
    strict: bool = False,
    progress: Imported | None = None,
    on_page: Callable[[Imported], None] | None = None,
) -> Imported:
    """Import the records of an export file into a store, and return the counts and failures.

    The import is idempotent: records with the same uid and namespace are replaced. Expired records are left out, and
    invalid lines are reported and left out. Pages of 1,000 records are stored all or none; after a crash or a
    cancellation the pages stored so far remain, and repeating the call completes the import.

    Args:
        store: the store to write to; its vectors must have the length of those in the export.
        source: the path of an export; an open export in JSON lines, which stays open; or a result of `open_export`,
            which is closed.
        namespace: the namespace for all records; each record's own when None.
        embedder: an `EmbeddingPipeline` that makes new vectors from the texts; the vectors of the file when None.
        strict: True raises at the first invalid line; its page is not stored.
        progress: updated in place, so that the caller can read it after an error.
        on_page: called with the progress after each page.

    Returns:
        The counts of stored and failed records, and the reasons of the failures.

    Raises:
        InvalidInputError: the file is no export; it has no vectors and `embedder` is None; it holds records of all
            namespaces and `namespace` is given; or, with `strict`, a line is invalid.
        DimensionMismatchError: the vectors have another length than the store's.
        ModelMismatchError: the vectors are of another model than those of the namespace.
    """
    done = Imported() if progress is None else progress
    reader = await in_thread(lambda: open_export(source), name="import")
    lock = threading.Lock()

    def read_page() -> list[Entry]:
        with lock:
            return reader.page()

    def close() -> None:
        with lock:  # after a cancellation a thread may still be reading a page
            reader.close()

    try:
        _check_compatible(reader.header, store, namespace, embedder)
        page_writer = _PageWriter(store, embedder)
        while entries := await in_thread(read_page, name="import"):
            _report_troubles(
                [Trouble(entry.number, entry.trouble) for entry in entries if entry.trouble], done, strict=strict
            )
            numbered = [
                (entry.number, _into_namespace(entry.record, namespace))
                for entry in entries
                if entry.record is not None
            ]
            while numbered:
                numbered, troubles = await page_writer.store_page(numbered, done)
                _report_troubles(troubles, done, strict=strict)
            done.read_bytes = reader.read_bytes
            if on_page is not None:
                on_page(done)
        done.read_bytes = reader.read_bytes
    finally:
        await in_thread(close, name="import")
    return done


def import_records(
    store: VectorStore,
    source: Source,
    *,
    namespace: str | None = None,
    embedder: Embedder | None = None,
    strict: bool = False,
    progress: Imported | None = None,
    on_page: Callable[[Imported], None] | None = None,
) -> Imported:
    """Import the records of an export file into a store; the blocking form of `aimport_records`."""
    return run_sync(
        aimport_records(
            store, source, namespace=namespace, embedder=embedder, strict=strict, progress=progress, on_page=on_page
        )
    )


_NumberedRecords = list[tuple[int, Record]]


class _PageWriter:
    def __init__(self, store: VectorStore, embedder: Embedder | None) -> None:
        self._store = store
        self._embedder = embedder
        self._models: dict[str, str | None] = {}

    async def store_page(self, numbered: _NumberedRecords, done: Imported) -> tuple[_NumberedRecords, list[Trouble]]:
        # The store refuses a page with an invalid record: the other records are returned, to be tried again.
        if self._embedder is not None:
            textless = [
                Trouble(number, "it has no text to embed") for number, record in numbered if record.text is None
            ]
            if textless:
                return [(number, record) for number, record in numbered if record.text is not None], textless
        try:
            records = await self._embed([record for _, record in numbered])
            await self._check_models(records)
            done.stored += await self._store.aput(records)
        except InvalidInputError as exc:
            index = _INDEX.match(exc.field)
            invalid = int(index[1]) if index else len(numbered)
            if invalid >= len(numbered):
                raise
            why = exc.message[index.end() :].lstrip(" .") if index and exc.message.startswith(index[0]) else exc.message
            return [*numbered[:invalid], *numbered[invalid + 1 :]], [Trouble(numbered[invalid][0], why)]
        return [], []

    async def _embed(self, records: list[Record]) -> list[Record]:
        if self._embedder is None:
            return records
        vectors = await self._embedder.aembed_batch([record.text or "" for record in records])
        model_id = self._embedder.model_id
        return [
            replace(record, vector=vector, model_id=model_id) for record, vector in zip(records, vectors, strict=True)
        ]

    async def _check_models(self, records: list[Record]) -> None:
        for record in records:
            if record.model_id is None:
                continue
            model = self._models.get(record.namespace)
            if model is None:
                model = await self._stored_model(record.namespace) or record.model_id
                self._models[record.namespace] = model
            if record.model_id != model:
                raise ModelMismatchError(
                    f"the export has vectors of {record.model_id!r}, those in {record.namespace!r} are of {model!r}",
                    hint=_REEMBED_HINT,
                )

    async def _stored_model(self, namespace: str) -> str | None:
        page = await self._store.ascan(limit=1, namespace=namespace) if isinstance(namespace, str) else []
        return page[0].model_id if page else None


def open_export(source: Source) -> JsonlReader | ParquetReader:
    """Open an export file, read its header, and return a reader of its records; blocks.

    Raises:
        InvalidInputError: the file cannot be read, or is no export.
        ConfigurationError: the file is Parquet, and pyarrow is missing.
    """
    if isinstance(source, JsonlReader | ParquetReader):
        return source
    if not isinstance(source, str | os.PathLike):
        return JsonlReader(source, owned=False)
    path = Path(source)
    try:
        file = path.open("rb")
    except OSError as exc:
        raise InvalidInputError(f"cannot read {str(path)!r}: {exc.strerror}", field="source") from exc
    try:
        file_format = sniff(file.read(4_096))
        file.seek(0)
        if file_format is None:
            raise InvalidInputError(
                f"{str(path)!r} is no export", field="source", hint="`saa import` takes other files: texts, Markdown"
            )
        return ParquetReader(file) if file_format == "parquet" else JsonlReader(file)
    except BaseException:
        file.close()
        raise


def _check_compatible(header: Header, store: VectorStore, namespace: str | None, embedder: Embedder | None) -> None:
    if namespace is not None and header.namespace is None:
        raise InvalidInputError(
            "the export holds records of all namespaces, whose uids could clash in one namespace",
            field="namespace",
            hint="leave the namespace (--agent, SAA_AGENT) out: each record then keeps its own",
        )
    if embedder is not None:
        return
    if not header.vectors:
        raise InvalidInputError("the export holds no vectors", field="source", hint=_REEMBED_HINT)
    if header.dim != store.dim:
        raise DimensionMismatchError(
            f"the export holds vectors of {header.dim} numbers, the store of {store.dim}",
            field="source",
            hint=_REEMBED_HINT,
        )


def _into_namespace(record: Record, namespace: str | None) -> Record:
    return record if namespace is None else replace(record, namespace=namespace)


def _report_troubles(troubles: list[Trouble], done: Imported, *, strict: bool) -> None:
    done.failed += len(troubles)
    done.troubles += troubles[: max(0, _MAX_TROUBLES - len(done.troubles))]
    if strict and troubles:
        raise InvalidInputError(
            f"stopped at line {troubles[0].line}: {troubles[0].why}",
            field="source",
            hint="correct it, then import again",
        )
