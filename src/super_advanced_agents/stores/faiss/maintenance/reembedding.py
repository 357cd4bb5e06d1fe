"""Other vectors for all records of a store: made beside the old ones while the store is used, then switched to."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from super_advanced_agents._runtime.batcher import MicroBatcher, Workers
from super_advanced_agents.errors import InvalidInputError, StoreError
from super_advanced_agents.stores.embedder import Embedder
from super_advanced_agents.stores.faiss.maintenance.staging import Staging
from super_advanced_agents.stores.faiss.rows.table import RecordTable
from super_advanced_agents.stores.faiss.writing.requests import MaintenanceWrite, Write

Result = TypeVar("Result")

_PAGE_ROWS = 512
"""Texts embedded between two commits; what a kill costs."""
_LAST_ROWS = 64
"""So few that came meanwhile are embedded inside the switch, for which writers wait; else it might never come."""
_INDEX = re.compile(r"^texts\[(\d+)\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reembedded:
    """What a re-embedding did.

    Attributes:
        records: how many the store held at the switch.
        embedded: how many of them were embedded by this call; an earlier one that was broken off did the others.
        dropped: how many had no text and were deleted.
        model_id: of all vectors now.
        dim: their length now.
    """

    records: int
    embedded: int
    dropped: int
    model_id: str
    dim: int


class Reembedding:
    """One re-embedding of one store.

    Args:
        rows: the store's.
        writer: the queue of its writer thread.
        readers: for reading rows off the event loop.
        embedder: makes the new vectors.
        drop_bare: delete the records that have no text.
        follow: called in the writer thread after the switch's commit, with the new identity and dimension.
        on_progress: told how many records of how many have their new vectors.
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
        self._last = 0
        self._embedded = 0

    async def run(self) -> Reembedded:
        """Embed every text, then switch; see `FAISSVectorStore.areembed`."""
        staging = self._staging
        self._dim = int((await self._embedder.aembed_batch(["dimension"])).shape[1])
        if not await self._readers.submit(partial(staging.is_needed, self._embedder.model_id, self._dim)):
            await self._in_writer(staging.forget)
            return self._done(await self._readers.submit(staging.count))
        self._last = await self._in_writer(partial(staging.begin, self._embedder.model_id, self._dim))
        bare = await self._readers.submit(staging.bare)
        if bare and not self._drop_bare:
            raise _bare(bare)
        left = await self._readers.submit(partial(staging.left, self._last))
        done = 0
        while True:
            page = await self._readers.submit(partial(staging.page, self._last, _PAGE_ROWS))
            if len(page) <= _LAST_ROWS:
                switched = await self._switch()
                if switched is not None:
                    while await self._in_writer(staging.clear_some):
                        pass
                    return switched
                continue
            await self._stage(page)
            done += len(page)
            if self._on_progress is not None:
                self._on_progress(done, max(left, done))

    async def _stage(self, page: list[tuple[int, str]]) -> None:
        try:
            vectors = await self._embedder.aembed_batch([text for _, text in page])
        except InvalidInputError as exc:
            raise await self._readers.submit(partial(self._blamed, exc, page)) from exc
        seqs = [seq for seq, _ in page]
        await self._in_writer(partial(self._staging.keep, seqs, vectors))
        self._last = seqs[-1]
        self._embedded += len(seqs)

    def _blamed(self, exc: InvalidInputError, page: list[tuple[int, str]]) -> InvalidInputError:
        """The error that names the record whose text was refused."""
        found = _INDEX.match(exc.field)
        if found is None or int(found[1]) >= len(page):
            return exc
        name = self._staging.name_of(page[int(found[1])][0])
        return InvalidInputError(
            f"the text of {name!r} {exc.message.removeprefix(exc.field).strip()}",
            field="uid",
            hint="replace or delete that record, then begin again",
        )

    async def _switch(self) -> Reembedded | None:
        """Embed the last few texts and switch, in one transaction; None when there are too many by now."""
        identity = ""

        def execute() -> Reembedded | None:
            nonlocal identity
            page = self._staging.page(self._last, _LAST_ROWS + 1)
            if len(page) > _LAST_ROWS:
                return None
            if page:
                try:
                    vectors = self._embedder.embed_batch([text for _, text in page])
                except InvalidInputError as exc:
                    raise self._blamed(exc, page) from exc
                self._staging.keep([seq for seq, _ in page], vectors)
            bare = self._staging.drop_bare()
            if bare and not self._drop_bare:
                raise _bare(bare)
            records, identity = self._staging.switch(self._embedder.model_id, self._dim)
            self._embedded += len(page)
            return self._done(records, dropped=bare)

        def follow() -> None:
            if identity:
                self._follow(identity, self._dim)

        return await self._in_writer(execute, follow)

    def _done(self, records: int, *, dropped: int = 0) -> Reembedded:
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


def _bare(n: int) -> StoreError:
    return StoreError(
        f"{n} records have a vector and no text, so nothing can be embedded for them",
        hint="delete them first, or use drop_bare (--drop-bare), which does",
    )
