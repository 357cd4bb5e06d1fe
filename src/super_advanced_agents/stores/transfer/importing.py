"""Import of an export file into a vector store, with its vectors or newly computed ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, TypeAlias

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents._runtime.concurrency.sync_bridge import run_sync
from super_advanced_agents.errors import DimensionMismatchError, InvalidInputError
from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.stores.embedder import Embedder
from super_advanced_agents.stores.transfer.jsonl import JsonlReader
from super_advanced_agents.stores.transfer.layout import Header, Item, Part, sniff
from super_advanced_agents.stores.transfer.parquet import ParquetReader
from super_advanced_agents.stores.transfer.storing import REEMBED_HINT, Imported, aimport_parts

Source: TypeAlias = "str | os.PathLike[str] | IO[bytes] | JsonlReader | ParquetReader"
"""The path of an export, an open export in JSON lines, or a result of `open_export`."""


async def aimport_records(
    store: VectorStore,
    source: Source,
    *,
    tenant: str | None = None,
    namespace: str | None = None,
    embedder: Embedder | None = None,
    strict: bool = False,
    progress: Imported | None = None,
    on_page: Callable[[Imported], None] | None = None,
) -> Imported:
    """Import the records of an export file into a store, and return the counts and failures.

    The import is idempotent: records with the same uid and namespace are replaced. Expired records are left out, and
    invalid lines are reported and left out. So are collections and settings, which a store has no place for. Pages of
    1,000 records are stored all or none; after a crash or a cancellation the pages stored so far remain, and repeating
    the call completes the import.

    Args:
        store: the store to write to; its vectors must have the length of those in the export.
        source: the path of an export; an open export in JSON lines, which stays open; or a result of `open_export`,
            which is closed.
        tenant: the only tenant in the export whose records are imported; needed when it holds several.
        namespace: the namespace for all records; each record's own when None.
        embedder: an `EmbeddingPipeline` that makes new vectors from the texts; the vectors of the file when None.
        strict: True raises at the first invalid line; its page is not stored.
        progress: updated in place, so that the caller can read it after an error.
        on_page: called with the progress after each page.

    Returns:
        The counts of stored, failed and left out records, and the reasons.

    Raises:
        InvalidInputError: the file is no export; it has no vectors and `embedder` is None; it holds records of several
            tenants and `tenant` is None; it holds records of all namespaces and `namespace` is given; or, with
            `strict`, a line is invalid.
        DimensionMismatchError: the vectors have another length than the store's.
        ModelMismatchError: the vectors are of another model than those of the namespace.
    """
    reader = await in_thread(lambda: open_export(source), name="import")
    try:
        if tenant is None and reader.header.tenant is None:
            raise InvalidInputError(
                "the export holds records of several tenants, which one store would mix",
                field="tenant",
                hint="name the tenant to import, or use `saa import`, which puts each record back under its own",
            )
        check_compatible(reader.header, store, namespace, embedder)
    except BaseException:
        await in_thread(reader.close, name="import")
        raise
    return await aimport_parts(
        reader,
        _OneStore(store, tenant),
        namespace=namespace,
        embedder=embedder,
        strict=strict,
        progress=progress,
        on_page=on_page,
    )


def import_records(
    store: VectorStore,
    source: Source,
    *,
    tenant: str | None = None,
    namespace: str | None = None,
    embedder: Embedder | None = None,
    strict: bool = False,
    progress: Imported | None = None,
    on_page: Callable[[Imported], None] | None = None,
) -> Imported:
    """Import the records of an export file into a store; the blocking form of `aimport_records`."""
    return run_sync(
        aimport_records(
            store,
            source,
            tenant=tenant,
            namespace=namespace,
            embedder=embedder,
            strict=strict,
            progress=progress,
            on_page=on_page,
        )
    )


class _OneStore:
    # A single store takes the memories of one tenant; it has no place for collections and settings.

    def __init__(self, store: VectorStore, tenant: str | None) -> None:
        self._store = store
        self._tenant = tenant

    async def store_of(self, part: Part) -> VectorStore | str:
        if self._tenant not in (None, part.tenant):
            return "of other tenants"
        return self._store if part.collection is None else "of collections"

    async def apply(self, item: Item, part: Part) -> str:
        del item
        return "of other tenants" if self._tenant not in (None, part.tenant) else "settings"


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


def check_compatible(header: Header, store: VectorStore, namespace: str | None, embedder: Embedder | None) -> None:
    """Check that the memories of an export can be imported into a store.

    Raises:
        InvalidInputError: there are no vectors and no `embedder`, or it holds all namespaces and `namespace` is given.
        DimensionMismatchError: the vectors have another length than the store's.
    """
    if namespace is not None and header.namespace is None:
        raise InvalidInputError(
            "the export holds records of all namespaces, whose uids could clash in one namespace",
            field="namespace",
            hint="leave the namespace (--agent, SAA_AGENT) out: each record then keeps its own",
        )
    if embedder is not None:
        return
    if not header.vectors:
        raise InvalidInputError("the export holds no vectors", field="source", hint=REEMBED_HINT)
    if header.dim != store.dim:
        raise DimensionMismatchError(
            f"the export holds vectors of {header.dim} numbers, the store of {store.dim}",
            field="source",
            hint=REEMBED_HINT,
        )
