"""One keyword index for each tenant, so that no text of another changes a score or an order."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from functools import partial
from operator import attrgetter
from pathlib import Path

import numpy as np
from pyroaring import BitMap

from super_advanced_agents._runtime.concurrency.futures import Future, in_thread
from super_advanced_agents.stores.faiss.index import Index
from super_advanced_agents.stores.faiss.keywords.index import EMPTY, Keywords, Ranking
from super_advanced_agents.stores.faiss.rows.table import RecordTable
from super_advanced_agents.stores.faiss.vectors.view import View
from super_advanced_agents.telemetry import get_logger

_log = get_logger("store")

_FOLDER = "tenants"
MAX_BYTES = 64 * 1024 * 1024
"""The memory for the open indexes of all tenants.

It is enough for 250 on disk, or for 36,000 texts of 30 words in buffers.
"""
MAX_EXCESS = 2
"""With this many times as much open, searches wait until indexes are closed."""
MAX_SAVE_S = 1.0
"""The seconds after which closing saves no further index; the rows have all texts."""


class KeywordIndexes:
    """Search the texts of a store by BM25, each tenant's by statistics of that tenant alone.

    Thread-safe. Any number of threads may search at once, one of them in the index of a tenant. When the open indexes
    take more than `MAX_BYTES`, one is saved and closed that takes more than an equal part of it and that nobody
    searches: the one that was searched least recently. To open one of 800 texts again takes 3 ms of a
    processor.

    Args:
        rows: the table of records.
        index: the rows of each tenant, and their session neighbours.
        folder: the folder of the store; None keeps all in memory.
    """

    def __init__(self, rows: RecordTable, index: Index, folder: Path | None) -> None:
        self._rows = rows
        self._index = index
        self._folder = folder
        self._by_tenant: dict[str, Keywords] = {}
        self._lock = threading.Lock()
        self._sizes: OrderedDict[str, int] = OrderedDict()  # of open indexes by tenant, least recently searched first
        self._open_bytes = 0
        self._closing: Future[None] | None = None
        self._ending = False

    def search(self, view: View, texts: Sequence[str], scope: int | None, candidates: BitMap, k: int) -> list[Ranking]:
        """Find the k candidate rows with the best BM25 scores for each query text, best first.

        Each term of a text counts by itself; a text has no query syntax. The statistics of a score (how many texts have
        a term, and how long texts are) are those of the row's tenant, in all of its namespaces.

        Args:
            view: the state of the index to search.
            texts: the query texts.
            scope: the number of the scope (one namespace of one tenant) that holds all candidates; None for the whole
                store.
            candidates: the rows that may be returned.
            k: rows to find for each query text.

        Returns:
            For each text at most k rows, all of which share a term with it.

        Raises:
            _StaleViewError: a candidate was deleted before its text was read.
        """
        if not candidates:
            return [EMPTY] * len(texts)
        tenants = self._index.tenants() if scope is None else [self._rows.tenant_of(scope)]
        if len(tenants) == 1:
            with self._opened(tenants[0]) as keywords:
                return keywords.search(view, texts, scope, candidates, k)
        parts = []
        for tenant in tenants:
            if own := candidates & self._index.rows_of(tenant):
                with self._opened(tenant) as keywords:
                    parts.append(keywords.search(view, texts, scope, own, k))
        return [_best([ranking[i] for ranking in parts], k) for i in range(len(texts))]

    def close(self) -> None:
        """Close the keyword indexes, after saving them for at most `MAX_SAVE_S` seconds.

        The index with the most unsaved texts is saved first; those not saved are built again.
        """
        self._ending = True
        self._wait_for_closing()
        end = time.monotonic() + MAX_SAVE_S
        for keywords in sorted(self._by_tenant.values(), key=attrgetter("unsaved_bytes"), reverse=True):
            keywords.close(save=time.monotonic() < end)

    @contextmanager
    def _opened(self, tenant: str) -> Iterator[Keywords]:
        with self._lock:
            keywords = self._by_tenant.get(tenant) or self._new(tenant)
        try:
            yield keywords
        finally:
            if self._note_size(tenant) > MAX_EXCESS * MAX_BYTES:
                self._wait_for_closing()

    def _note_size(self, tenant: str) -> int:
        # Returns the memory of all open indexes, and closes some in the background if it is too much.
        with self._lock:
            size = self._by_tenant[tenant].size_bytes
            self._open_bytes += size - self._sizes.pop(tenant, 0)
            if size:
                self._sizes[tenant] = size
            if self._open_bytes > MAX_BYTES and self._closing is None and self._folder is not None:
                self._closing = in_thread(self._close_idle, name="store words")
            return self._open_bytes

    def _wait_for_closing(self) -> None:
        with self._lock:
            closing = self._closing
        if closing is not None:
            closing.wait()

    def _close_idle(self) -> None:
        tried: set[str] = set()
        try:
            while (tenant := self._least_recent(tried)) is not None:
                tried.add(tenant)  # it may be searched again already
                try:
                    self._by_tenant[tenant].close_if_idle()
                except Exception as exc:  # it is built again from the rows
                    _log.warning("store.words_not_kept", extra={"reason": str(exc)[:200]})
                self._note_size(tenant)
        finally:
            with self._lock:
                self._closing = None

    def _least_recent(self, tried: Set[str]) -> str | None:
        with self._lock:
            if self._ending or self._open_bytes <= MAX_BYTES:
                return None
            share = MAX_BYTES / len(self._sizes)
            return next(
                (
                    tenant
                    for tenant, size in self._sizes.items()
                    if size > share and tenant not in tried and not self._by_tenant[tenant].in_use
                ),
                None,
            )

    def _new(self, tenant: str) -> Keywords:
        folder = self._folder
        if folder is not None and tenant:  # a digest, since file systems may not tell letters of two cases apart
            folder = folder / _FOLDER / hashlib.sha256(tenant.encode()).hexdigest()[:32]
        keywords = self._by_tenant[tenant] = Keywords(
            self._rows, self._index.session_neighbours, folder, partial(self._index.rows_of, tenant), tenant=tenant
        )
        return keywords


def _best(rankings: Sequence[Ranking], k: int) -> Ranking:
    if not rankings:
        return EMPTY
    rows = np.concatenate([rows for rows, _ in rankings])
    scores = np.concatenate([scores for _, scores in rankings])
    best = np.lexsort((rows, -scores))[:k]
    return rows[best], scores[best]
