"""What is done with a store as a whole while it is used: backing it up, and giving it vectors of another model."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from super_advanced_agents._runtime.batcher import MicroBatcher, Workers
from super_advanced_agents._runtime.sync_bridge import blocking
from super_advanced_agents.errors import StoreError
from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.stores.embedder import Embedder
from super_advanced_agents.stores.faiss.maintenance.backup import Backup, OnCopied, back_up_rows
from super_advanced_agents.stores.faiss.maintenance.reembedding import Reembedded, Reembedding
from super_advanced_agents.stores.faiss.rows.table import RecordTable
from super_advanced_agents.stores.faiss.vectors.sealer import Sealer
from super_advanced_agents.stores.faiss.writing.requests import Write

_MAX_QUEUED_BACKUPS = 8


class MaintenanceOperations(VectorStore):
    """The operations of `FAISSVectorStore` on all of it, which has made what they use."""

    _dim: int
    _rows: RecordTable
    _writer: MicroBatcher[Write, object]
    _readers: Workers
    _sealer: Sealer
    _reembedding = False

    def __init__(self) -> None:
        super().__init__()
        self._backups = Workers(name="store backup", threads=1, max_queue=_MAX_QUEUED_BACKUPS)

    async def abackup(self, path: str | os.PathLike[str], *, on_copied: OnCopied | None = None) -> Backup:
        """Copy the store as it is now into a folder that can be opened as one, while reads and writes go on.

        Args:
            path: a folder that does not exist yet, or is empty; it appears under its name when it is whole.
            on_copied: told how many bytes of how many are copied, from a worker thread.

        Returns:
            What was written; every write acknowledged before the call is in it.

        Raises:
            StoreError: the folder is not empty or cannot be written.

        Cancelled, or when the store is closed meanwhile, it is given up and leaves nothing behind.
        """
        self._check_open()
        ended = threading.Event()
        work = partial(
            back_up_rows, self._rows, Path(path), on_copied=on_copied, should_stop=lambda: ended.is_set() or self._closed
        )
        try:
            return await self._backups.submit(work)
        finally:
            ended.set()

    async def areembed(
        self,
        embedder: Embedder,
        *,
        drop_bare: bool = False,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Reembedded:
        """Give every record the vector that another model makes of its text, perhaps one of another length.

        Reads and writes go on: searches answer from the old vectors until the store switches to the new ones in one
        step, and what is written meanwhile is embedded too. From the switch on the store takes and searches for vectors
        of the new model and length only. Each page of new vectors is durable: broken off, by a kill too, the same call
        goes on from there. The file grows by the new vectors; the room of the old ones is used again.

        Args:
            embedder: the other model; an `EmbeddingPipeline`.
            drop_bare: delete the records that have no text, for which there is nothing to embed.
            on_progress: told how many of how many records have new vectors, after each page.

        Returns:
            What was done.

        Raises:
            StoreError: there are records without text (and `drop_bare` is False), or a re-embedding is going on.
            InvalidInputError: the model refuses a record's text; the message names the record.
            SuperAdvancedAgentsError: what the embedder raises.

        Cancelled, it stops after the page it is at; the store is as it was.
        """
        self._check_open()
        if self._reembedding:
            raise StoreError("this store is being embedded anew already", hint="wait for that")
        self._reembedding = True
        try:
            return await Reembedding(
                self._rows,
                self._writer,
                self._readers,
                embedder,
                drop_bare=drop_bare,
                follow=self._follow_switch,
                on_progress=on_progress,
            ).run()
        finally:
            self._reembedding = False

    backup = blocking(abackup)
    reembed = blocking(areembed)

    def _follow_switch(self, identity: str, dim: int) -> None:
        """The rows have new vectors: take them up, in the writer thread."""
        self._rows.identity = identity
        self._dim = dim
        self._sealer.rebuild(dim)
