"""Records of an export back into a store, as they were or embedded again."""

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

_KEPT_TROUBLES = 1_000
_INDEX = re.compile(r"^\w+\[(\d+)\]")
_REEMBED = "embed its texts again with the model at hand: saa import --reembed, or embedder="


Source: TypeAlias = "str | os.PathLike[str] | IO[bytes] | JsonlReader | ParquetReader"
"""A file that `export_records` wrote, an open one of JSON lines (which stays open), or what `open_export` gave."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A record that could not be imported: its line (or row, in Parquet) counted from 1, and why."""

    line: int
    why: str


@dataclass(slots=True, kw_only=True)
class Imported:
    """How far an import has come.

    Attributes:
        stored: records made durable.
        failed: lines that could not be imported.
        read_bytes: of the file.
        troubles: the first thousand of what failed.
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
    """Put the records of an export into a store, with everything they had; importing the same again changes nothing.

    Records of the same uid and namespace are replaced, expired ones left out. Each 1,000 are stored all or none, so an
    import that was killed is made whole by the same call again. Bad lines are told and left out.

    Args:
        store: where to, of the same vector length as the export.
        source: a file that `export_records` wrote, an open one of JSON lines (which stays open), or what `open_export`
            gave (which is closed).
        namespace: where all records go; each to its own when None.
        embedder: makes new vectors of the records' texts, in place of those in the file; an `EmbeddingPipeline`.
        strict: raise at the first bad line; the page it stands on is not stored.
        progress: kept up to date, for who wants to know how far it came when something is raised.
        on_page: told how far it has come, after each page.

    Returns:
        What was stored, and what was not and why.

    Raises:
        InvalidInputError: the file is no export, has no vectors (and `embedder` is None), holds records of all
            namespaces (and `namespace` is given), or, with `strict`, a line is bad.
        DimensionMismatchError: its vectors have another length than the store's.
        ModelMismatchError: its vectors are of another model than those of the namespace they belong to.

    Cancelled, pages stored stay stored.
    """
    done = Imported() if progress is None else progress
    reader = await in_thread(lambda: open_export(source), name="import")
    lock = threading.Lock()

    def read_page() -> list[Entry]:
        with lock:
            return reader.page()

    def close() -> None:
        with lock:  # a page may still be read when its reader was cancelled
            reader.close()

    try:
        _check(reader.header, store, namespace, embedder)
        keeping = _Keeping(store, embedder)
        while entries := await in_thread(read_page, name="import"):
            _tell([Trouble(entry.number, entry.trouble) for entry in entries if entry.trouble], done, strict=strict)
            numbered = [
                (entry.number, _moved(entry.record, namespace)) for entry in entries if entry.record is not None
            ]
            while numbered:
                numbered, troubles = await keeping.attempt(numbered, done)
                _tell(troubles, done, strict=strict)
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
    """The blocking twin of `aimport_records`."""
    return run_sync(
        aimport_records(
            store, source, namespace=namespace, embedder=embedder, strict=strict, progress=progress, on_page=on_page
        )
    )


_Numbered = list[tuple[int, Record]]


class _Keeping:
    """Stores pages of records, none of whose namespaces may hold vectors of two models."""

    def __init__(self, store: VectorStore, embedder: Embedder | None) -> None:
        self._store = store
        self._embedder = embedder
        self._models: dict[str, str | None] = {}

    async def attempt(self, numbered: _Numbered, done: Imported) -> tuple[_Numbered, list[Trouble]]:
        """Store a page; when one of its records is to blame for a failure, return the others and why it is left out."""
        if self._embedder is not None:
            bare = [Trouble(number, "it has no text to embed") for number, record in numbered if record.text is None]
            if bare:
                return [each for each in numbered if each[1].text is not None], bare
        try:
            records = await self._embedded([record for _, record in numbered])
            await self._check_models(records)
            done.stored += await self._store.aput(records)
        except InvalidInputError as exc:
            found = _INDEX.match(exc.field)
            blamed = int(found[1]) if found else len(numbered)
            if blamed >= len(numbered):
                raise
            why = exc.message[found.end() :].lstrip(" .") if found and exc.message.startswith(found[0]) else exc.message
            return [*numbered[:blamed], *numbered[blamed + 1 :]], [Trouble(numbered[blamed][0], why)]
        return [], []

    async def _embedded(self, records: list[Record]) -> list[Record]:
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
            held = self._models.get(record.namespace)
            if held is None:
                held = await self._held(record.namespace) or record.model_id
                self._models[record.namespace] = held
            if record.model_id != held:
                raise ModelMismatchError(
                    f"the export has vectors of {record.model_id!r}, those in {record.namespace!r} are of {held!r}",
                    hint=_REEMBED,
                )

    async def _held(self, namespace: str) -> str | None:
        """The model of what a namespace holds already."""
        held = await self._store.ascan(limit=1, namespace=namespace) if isinstance(namespace, str) else []
        return held[0].model_id if held else None


def open_export(source: Source) -> JsonlReader | ParquetReader:
    """Open an export and read its header; for who wants to know what it holds before importing it. Blocks.

    Raises:
        InvalidInputError: it cannot be read, or is no export.
        ConfigurationError: it is Parquet, and pyarrow is missing.
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
        found = sniff(file.read(4_096))
        file.seek(0)
        if found is None:
            raise InvalidInputError(
                f"{str(path)!r} is no export", field="source", hint="`saa import` takes other files: texts, Markdown"
            )
        return ParquetReader(file) if found == "parquet" else JsonlReader(file)
    except BaseException:
        file.close()
        raise


def _check(header: Header, store: VectorStore, namespace: str | None, embedder: Embedder | None) -> None:
    if namespace is not None and header.namespace is None:
        raise InvalidInputError(
            "the export holds records of all namespaces, which could take each other's names in one",
            field="namespace",
            hint="leave the namespace (--agent, SAA_AGENT) out: each record goes where it was",
        )
    if embedder is not None:
        return
    if not header.vectors:
        raise InvalidInputError("the export holds no vectors", field="source", hint=_REEMBED)
    if header.dim != store.dim:
        raise DimensionMismatchError(
            f"the export holds vectors of {header.dim} numbers, the store of {store.dim}", field="source", hint=_REEMBED
        )


def _moved(record: Record, namespace: str | None) -> Record:
    return record if namespace is None else replace(record, namespace=namespace)


def _tell(troubles: list[Trouble], done: Imported, *, strict: bool) -> None:
    done.failed += len(troubles)
    done.troubles += troubles[: max(0, _KEPT_TROUBLES - len(done.troubles))]
    if strict and troubles:
        raise InvalidInputError(
            f"stopped at line {troubles[0].line}: {troubles[0].why}", field="source", hint="mend it, then import again"
        )
