"""Storing of an export's records and settings, page by page, with counts."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Protocol

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents.errors import InvalidInputError, ModelMismatchError, SuperAdvancedAgentsError
from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.stores.embedder import Embedder
from super_advanced_agents.stores.transfer.layout import Entry, Header, Item, Part, Reader
from super_advanced_agents.types import Record

_MAX_TROUBLES = 1_000
_NO_UID = "no record has this uid"
_INDEX = re.compile(r"^\w+\[(\d+)\]")
REEMBED_HINT = "embed the texts again with the current model: saa import --reembed, or embedder="


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
        left_out: for each reason to leave valid records or settings out, their number.
        read_bytes: the number of bytes read from the file.
        troubles: the first 1,000 failures.
    """

    stored: int = 0
    failed: int = 0
    read_bytes: int = 0
    troubles: list[Trouble] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


class Targets(Protocol):
    """Choose the places that the parts of an export are imported to."""

    async def store_of(self, part: Part) -> VectorStore | str:
        """Return the store for the records of a part, or the reason why these are left out.

        Raises:
            InvalidInputError: the records cannot be stored; they count as failed.
        """

    async def apply(self, item: Item, part: Part) -> str:
        """Store the settings of an agent or a collection; return why they are left out, or "".

        Raises:
            InvalidInputError: the settings are not valid; they count as failed.
        """


async def aimport_parts(
    reader: Reader,
    targets: Targets,
    *,
    namespace: str | None = None,
    embedder: Embedder | None = None,
    strict: bool = False,
    progress: Imported | None = None,
    on_page: Callable[[Imported], None] | None = None,
) -> Imported:
    """Import the parts of an export file into the stores that `targets` returns, and count.

    The other arguments, the result and the errors are those of `aimport_records`. Vectors of collections are never
    computed anew. The reader is closed.
    """
    done = Imported() if progress is None else progress
    lock = threading.Lock()

    def read_page() -> list[Entry]:
        with lock:
            return reader.page()

    def close() -> None:
        with lock:  # after a cancellation a thread may still be reading a page
            reader.close()

    try:
        importing = _Import(targets, namespace, embedder, done, strict=strict)
        duplicates = _DuplicateUids(reader.header)
        while entries := await in_thread(read_page, name="import"):
            for part, of_part in groupby(map(duplicates.checked, entries), key=lambda entry: entry.part):
                await importing.store(part, list(of_part))
            done.read_bytes = reader.read_bytes
            if on_page is not None:
                on_page(done)
        done.read_bytes = reader.read_bytes
    finally:
        await in_thread(close, name="import")
    return done


async def acount_stored(store: VectorStore, records: Sequence[Record]) -> int:
    """Return how many records of an interrupted `aput` the store holds as they were given.

    The number is 0 where the store does not answer any more.
    """
    try:
        await store.adelete([_NO_UID])  # waits for the write in flight
        count = 0
        for namespace, of_namespace in groupby(records, key=lambda record: record.namespace):
            given = list(of_namespace)
            found = await store.aget([record.uid for record in given], namespace=namespace)
            times = {record.uid: record.updated_at for record in found}
            count += sum(times.get(record.uid) == record.updated_at for record in given)
    except SuperAdvancedAgentsError:
        return 0
    return count


class _DuplicateUids:
    # An older version wrote the records of several tenants without their tenants, in the order of uids. Two records of
    # one uid beside each other show it; one would overwrite the other.

    def __init__(self, header: Header) -> None:
        self._searched = header.version == 1
        self._last: tuple[str, str] | None = None

    def checked(self, entry: Entry) -> Entry:
        if not self._searched or entry.record is None:
            return entry
        last, self._last = self._last, (entry.record.namespace, entry.record.uid)
        if last != self._last:
            return entry
        why = "it is the second record of its uid, as in an export of several tenants by an older version"
        return Entry(number=entry.number, trouble=why)


class _Import:
    def __init__(
        self, targets: Targets, namespace: str | None, embedder: Embedder | None, done: Imported, *, strict: bool
    ) -> None:
        self._targets = targets
        self._namespace = namespace
        self._embedder = embedder
        self._done = done
        self._strict = strict
        self._models: dict[tuple[Part, str], str | None] = {}

    async def store(self, part: Part, entries: list[Entry]) -> None:
        self._report([Trouble(entry.number, entry.trouble) for entry in entries if entry.trouble])
        for entry in entries:
            if entry.item is not None:
                await self._apply(entry, entry.item)
        numbered = [
            (entry.number, _into_namespace(entry.record, self._namespace))
            for entry in entries
            if entry.record is not None
        ]
        if not numbered:
            return
        try:
            store = await self._targets.store_of(part)
        except InvalidInputError as exc:
            self._report([Trouble(number, exc.message) for number, _ in numbered])
            return
        if isinstance(store, str):
            self._done.left_out[store] += len(numbered)
            return
        embedder = self._embedder if part.collection is None else None
        page_writer = _PageWriter(store, embedder, part, self._models)
        while numbered:
            numbered, troubles = await page_writer.store_page(numbered, self._done)
            self._report(troubles)

    async def _apply(self, entry: Entry, item: Item) -> None:
        try:
            why = await self._targets.apply(item, entry.part)
        except InvalidInputError as exc:
            self._report([Trouble(entry.number, exc.message)])
        else:
            if why:
                self._done.left_out[why] += 1

    def _report(self, troubles: list[Trouble]) -> None:
        done = self._done
        done.failed += len(troubles)
        done.troubles += troubles[: max(0, _MAX_TROUBLES - len(done.troubles))]
        if self._strict and troubles:
            raise InvalidInputError(
                f"stopped at line {troubles[0].line}: {troubles[0].why}",
                field="source",
                hint="correct it, then import again",
            )


_NumberedRecords = list[tuple[int, Record]]


class _PageWriter:
    def __init__(
        self,
        store: VectorStore,
        embedder: Embedder | None,
        part: Part,
        models: dict[tuple[Part, str], str | None],
    ) -> None:
        self._store = store
        self._embedder = embedder
        self._part = part
        self._models = models

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
            await self._put(records, done)
        except InvalidInputError as exc:
            index = _INDEX.match(exc.field)
            invalid = int(index[1]) if index else len(numbered)
            if invalid >= len(numbered):
                raise
            why = exc.message[index.end() :].lstrip(" .") if index and exc.message.startswith(index[0]) else exc.message
            return [*numbered[:invalid], *numbered[invalid + 1 :]], [Trouble(numbered[invalid][0], why)]
        return [], []

    async def _put(self, records: list[Record], done: Imported) -> None:
        before = done.stored
        try:
            stored = await self._store.aput(records)
            done.stored = before + stored
            if stored < len(records):
                done.left_out["expired"] += len(records) - stored
        except (InvalidInputError, GeneratorExit):
            raise
        except BaseException:  # Ctrl-C may come after the page has become durable
            done.stored = before + await acount_stored(self._store, records)
            raise

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
            key = self._part, record.namespace
            model = self._models.get(key)
            if model is None:
                model = await self._stored_model(record.namespace) or record.model_id
                self._models[key] = model
            if record.model_id != model:
                raise ModelMismatchError(
                    f"the export has vectors of {record.model_id!r}, those in {record.namespace!r} are of {model!r}",
                    hint=REEMBED_HINT,
                )

    async def _stored_model(self, namespace: str) -> str | None:
        page = await self._store.ascan(limit=1, namespace=namespace) if isinstance(namespace, str) else []
        return page[0].model_id if page else None


def _into_namespace(record: Record, namespace: str | None) -> Record:
    return record if namespace is None else replace(record, namespace=namespace)
