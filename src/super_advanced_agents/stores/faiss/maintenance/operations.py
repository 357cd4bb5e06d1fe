"""Operations on a whole store while it is used: backup and re-embedding."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from super_advanced_agents._runtime.concurrency.sync_bridge import blocking
from super_advanced_agents._runtime.queues.batcher import MicroBatcher, Workers
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
    """Add backup and re-embedding to `FAISSVectorStore`, as a mixin.

    The store assigns the attributes that are declared here.
    """

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
        """Copy the store to a new folder, which is a store too; reads and writes continue.

        Cancelling it, or closing the store meanwhile, stops the backup, which then leaves nothing behind.

        Args:
            path: a folder that does not exist yet, or is empty; it appears under its name when it is complete.
            on_copied: called from a worker thread with the bytes copied so far and the total bytes.

        Returns:
            The manifest of the backup, which holds every write acknowledged before the call.

        Raises:
            StoreError: the folder is not empty or cannot be written.
            ResourceClosedError: the store was closed meanwhile.
        """
        self._check_open()
        ended = threading.Event()
        work = partial(
            back_up_rows,
            self._rows,
            Path(path),
            on_copied=on_copied,
            should_stop=lambda: ended.is_set() or self._closed,
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
        """Embed every record's text with another model, and replace all vectors.

        The new vectors may have another length.

        Reads and writes go on: searches use the old vectors until the store switches to the new ones in one step, and
        records written meanwhile are embedded too. From the switch on the store accepts vectors of the new model and
        length only. Each page of new vectors is durable: after an interruption, by a kill too, the same call continues
        from there. The file grows by the new vectors; the space of the old ones is reused.

        Cancelling it stops it after the current page; searches and writes go on with the old vectors.

        Args:
            embedder: the new model, such as an `EmbeddingPipeline`.
            drop_bare: delete the records that have no text, for which there is nothing to embed.
            on_progress: called after each page with the number of records that have new vectors and the total.

        Returns:
            The numbers of records that were embedded and deleted.

        Raises:
            StoreError: there are records without text (and `drop_bare` is False), or a re-embedding is running.
            InvalidInputError: the model refuses a record's text; the message names the record.
            SuperAdvancedAgentsError: the embedder raised it.
        """
        self._check_open()
        if self._reembedding:
            raise StoreError("this store is already being re-embedded", hint="wait until it is finished")
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
        self._rows.identity = identity
        self._dim = dim
        self._sealer.rebuild(dim)
