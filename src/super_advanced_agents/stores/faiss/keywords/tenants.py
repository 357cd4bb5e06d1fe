"""One keyword index for each tenant, so that no text of another changes a score or an order."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from pyroaring import BitMap

from super_advanced_agents.stores.faiss.index import Index
from super_advanced_agents.stores.faiss.keywords.index import EMPTY, Keywords, Ranking
from super_advanced_agents.stores.faiss.rows.table import RecordTable
from super_advanced_agents.stores.faiss.vectors.view import View

_FOLDER = "tenants"
MAX_OPEN = 64
"""The number of tenants whose index is open.

Beyond it the index that was searched least recently is saved and closed.
"""
MAX_BUFFERED_ROWS = 4_096
"""The rows in the buffers of all open indexes; a row takes about 8 KiB."""


class KeywordIndexes:
    """Search the texts of a store by BM25, each tenant's by statistics of that tenant alone.

    Thread-safe. Any number of threads may search at once, one of them in the index of a tenant.

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
        self._open: OrderedDict[str, Keywords] = OrderedDict()
        self._lock = threading.Lock()

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
        try:
            if len(tenants) == 1:
                return self._of(tenants[0]).search(view, texts, scope, candidates, k)
            parts = [
                self._of(tenant).search(view, texts, scope, own, k)
                for tenant in tenants
                if (own := candidates & self._index.rows_of(tenant))
            ]
        finally:
            self._close_least_recent()
        return [_best([ranking[i] for ranking in parts], k) for i in range(len(texts))]

    def close(self) -> None:
        """Save the keyword indexes to disk for the next opening of the store, and close them."""
        for keywords in list(self._by_tenant.values()):
            keywords.close()

    def _of(self, tenant: str) -> Keywords:
        with self._lock:
            keywords = self._open[tenant] = self._by_tenant.get(tenant) or self._new(tenant)
            self._open.move_to_end(tenant)
            if changed := self._index.session_neighbours.take_changed_rows():
                for each in self._open.values():  # an index that is opened later compares all neighbours
                    each.add_changed(changed)
        return keywords

    def _new(self, tenant: str) -> Keywords:
        folder = self._folder
        if folder is not None and tenant:  # a digest, since file systems may not tell letters of two cases apart
            folder = folder / _FOLDER / hashlib.sha256(tenant.encode()).hexdigest()[:32]
        keywords = self._by_tenant[tenant] = Keywords(
            self._rows, self._index.session_neighbours, folder, partial(self._index.rows_of, tenant), tenant=tenant
        )
        return keywords

    def _close_least_recent(self) -> None:
        if self._folder is None:
            return  # a closed index would have to be built from all of its texts again
        unused = []
        with self._lock:
            buffered = sum(keywords.buffered_count for keywords in self._open.values())
            while len(self._open) > 1 and (len(self._open) > MAX_OPEN or buffered > MAX_BUFFERED_ROWS):
                _, keywords = self._open.popitem(last=False)
                buffered -= keywords.buffered_count
                unused.append(keywords)
        for keywords in unused:
            keywords.close(wait=False)


def _best(rankings: Sequence[Ranking], k: int) -> Ranking:
    if not rankings:
        return EMPTY
    rows = np.concatenate([rows for rows, _ in rankings])
    scores = np.concatenate([scores for _, scores in rankings])
    best = np.lexsort((rows, -scores))[:k]
    return rows[best], scores[best]
