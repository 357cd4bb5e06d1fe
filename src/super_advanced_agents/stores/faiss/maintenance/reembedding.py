"""Re-embedding: new vectors for all records, collected in a table until all are complete."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from super_advanced_agents._runtime.queues.batcher import MicroBatcher, Workers
from super_advanced_agents.errors import InvalidInputError, StoreError
from super_advanced_agents.stores.embedder import Embedder
from super_advanced_agents.stores.faiss.maintenance.staging import Staging
from super_advanced_agents.stores.faiss.rows.table import RecordTable
from super_advanced_agents.stores.faiss.writing.requests import MaintenanceWrite, Write

Result = TypeVar("Result")

_PAGE_ROWS = 512
"""Texts embedded between two commits; a kill loses the work on at most this many."""
_LAST_ROWS = 64
"""At most this many remaining texts are embedded inside the switch, while writers wait.

With a limit of 0, steady writes could put off the switch for ever.
"""
_TEXT_FIELD = re.compile(r"^texts\[(\d+)\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reembedded:
    """Hold the result of a re-embedding: record counts, and the new model and dimension.

    Attributes:
        records: the number of records in the store at the switch.
        embedded: the number of texts embedded by this call; earlier, interrupted calls embedded the others.
        dropped: the number of records without a text that were deleted.
        model_id: the model of all vectors now.
        dim: the length of all vectors now.
    """

    records: int
    embedded: int
    dropped: int
    model_id: str
    dim: int


class Reembedding:
    """Embed all texts of a store with a new model, and replace its vectors.

    Args:
        rows: the store's rows.
        writer: the queue of its writer thread.
        readers: the threads that read rows.
        embedder: makes the new vectors.
        drop_bare: delete the records that have no text.
        follow: called in the writer thread after the switch's commit, with the new identity and dimension.
        on_progress: called with the number of records that have their new vectors and the total.
    """

    def __init__(
        self,
        rows: RecordTable,
        writer: MicroBatcher[Write, object],
        readers: Workers,
        embedder: Embedder,
        *,
        drop_bare: bool,
        follow: Callable[[str, int], None],
        on_progress: Callable[[int, int], None] | None,
    ) -> None:
        self._staging = Staging(rows)
        self._writer = writer
        self._readers = readers
        self._embedder = embedder
        self._drop_bare = drop_bare
        self._follow = follow
        self._on_progress = on_progress
        self._dim = 0
        self._last_staged = 0
        self._embedded = 0

    async def run(self) -> Reembedded:
        """Embed every text, collect the vectors in a staging table, then replace the old vectors."""
        staging = self._staging
        self._dim = int((await self._embedder.aembed_batch(["dimension"])).shape[1])
        if not await self._readers.submit(partial(staging.is_needed, self._embedder.model_id, self._dim)):
            await self._in_writer(staging.discard)
            return self._result(await self._readers.submit(staging.count))
        self._last_staged = await self._in_writer(partial(staging.begin, self._embedder.model_id, self._dim))
        without_text = await self._readers.submit(staging.count_without_text)
        if without_text and not self._drop_bare:
            raise _missing_text_error(without_text)
        remaining = await self._readers.submit(partial(staging.count_after, self._last_staged))
        done = 0
        while True:
            page = await self._readers.submit(partial(staging.page, self._last_staged, _PAGE_ROWS))
            if len(page) <= _LAST_ROWS:
                switched = await self._switch()
                if switched is not None:
                    while await self._in_writer(staging.delete_some_replaced):
                        pass
                    return switched
                continue
            await self._stage(page)
            done += len(page)
            if self._on_progress is not None:
                self._on_progress(done, max(remaining, done))

    async def _stage(self, page: list[tuple[int, str]]) -> None:
        try:
            vectors = await self._embedder.aembed_batch([text for _, text in page])
        except InvalidInputError as exc:
            raise await self._readers.submit(partial(self._name_record, exc, page)) from exc
        seqs = [seq for seq, _ in page]
        await self._in_writer(partial(self._staging.stage, seqs, vectors))
        self._last_staged = seqs[-1]
        self._embedded += len(seqs)

    def _name_record(self, exc: InvalidInputError, page: list[tuple[int, str]]) -> InvalidInputError:
        position = _TEXT_FIELD.match(exc.field)
        if position is None or int(position[1]) >= len(page):
            return exc
        uid = self._staging.uid_of(page[int(position[1])][0])
        return InvalidInputError(
            f"the text of {uid!r} {exc.message.removeprefix(exc.field).strip()}",
            field="uid",
            hint="replace or delete that record, then start again",
        )

    async def _switch(self) -> Reembedded | None:
        # Returns None when too many texts are left to embed inside the transaction, while writers wait.
        identity = ""

        def execute() -> Reembedded | None:
            nonlocal identity
            page = self._staging.page(self._last_staged, _LAST_ROWS + 1)
            if len(page) > _LAST_ROWS:
                return None
            if page:
                try:
                    vectors = self._embedder.embed_batch([text for _, text in page])
                except InvalidInputError as exc:
                    raise self._name_record(exc, page) from exc
                self._staging.stage([seq for seq, _ in page], vectors)
            without_text = self._staging.delete_without_text()
            if without_text and not self._drop_bare:
                raise _missing_text_error(without_text)
            records, identity = self._staging.switch(self._embedder.model_id, self._dim)
            self._embedded += len(page)
            return self._result(records, dropped=without_text)

        def follow() -> None:
            if identity:
                self._follow(identity, self._dim)

        return await self._in_writer(execute, follow)

    def _result(self, records: int, *, dropped: int = 0) -> Reembedded:
        return Reembedded(
            records=records,
            embedded=self._embedded,
            dropped=dropped,
            model_id=self._embedder.model_id,
            dim=self._dim,
        )

    async def _in_writer(self, execute: Callable[[], Result], follow: Callable[[], None] | None = None) -> Result:
        maintenance_write = MaintenanceWrite(execute, follow)
        return await self._writer.submit(maintenance_write)  # type: ignore[return-value]  # what `execute` returned


def _missing_text_error(n: int) -> StoreError:
    return StoreError(
        f"{n} records have a vector and no text, so nothing can be embedded for them",
        hint="delete them first, or use drop_bare (--drop-bare), which does",
    )
