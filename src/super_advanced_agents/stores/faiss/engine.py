"""What a store does in its worker threads: groups of writes, groups of searches, and reads."""

from __future__ import annotations

import sqlite3
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import groupby, islice, takewhile
from operator import itemgetter
from typing import TypeAlias, TypeVar

import faiss
import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from super_advanced_agents.errors import StoreError
from super_advanced_agents.stores.base import FilterFn
from super_advanced_agents.stores.faiss import schema
from super_advanced_agents.stores.faiss.attributes import _StaleViewError, array_of
from super_advanced_agents.stores.faiss.hybrid import ranked_by_words
from super_advanced_agents.stores.faiss.index import Index
from super_advanced_agents.stores.faiss.keywords import Keywords
from super_advanced_agents.stores.faiss.requests import Publication, Removal, Search, Write
from super_advanced_agents.stores.faiss.rows import Addition, Change, Hit, Rows, Scope
from super_advanced_agents.stores.faiss.segments import View
from super_advanced_agents.stores.filters import Filter
from super_advanced_agents.telemetry import get_logger
from super_advanced_agents.types import JSONValue, Match, Matrix, Record

Found = TypeVar("Found")
_Ranked: TypeAlias = "tuple[NDArray[np.float32], NDArray[np.int64]]"
"""Scores and rows of one query, best first; row -1 past the end."""

_log = get_logger("store")
_PREDICATE_PAGE = 256
_TRIES = 3


class Engine:
    """Rows and index of one store, used by worker threads only. Raises errors of the tree."""

    def __init__(self, rows: Rows, index: Index, keywords: Keywords, load: Callable[[], None], *, unit: bool) -> None:
        self._rows = rows
        self._index = index
        self._keywords = keywords
        self._load = load
        self._loaded = False
        self._loading = threading.Lock()
        self._unit = unit
        self._write_failure: tuple[str, str] | None = None
        self._moving = threading.Lock()  # held from before a commit until the view has followed it
        self.counters = {"commits": 0, "added": 0, "deleted": 0, "searches": 0}

    @contextmanager
    def _ready(self) -> Iterator[None]:
        """The index is loaded inside, and what SQLite says is translated."""
        try:
            if not self._loaded:
                with self._loading:
                    if not self._loaded:
                        self._load()
                        self._loaded = True
            yield
        except sqlite3.Error as exc:
            raise schema.translated(exc) from exc

    # -- writing --------------------------------------------------------------------------------------------------

    def write(self, writes: list[Write]) -> list[object]:
        """Carry out many callers' writes; neighbours that can share a transaction do.

        Returns:
            For each write its result (None, or how many records a removal deleted) or its error.
        """
        results: list[object] = []
        # A removal by filter must see what came before it in the view, so it begins a transaction of its own.
        for _, group in groupby(enumerate(writes), key=_transaction_key):
            together = [write for _, write in group]
            try:
                with self._ready():
                    results.extend(self._write_together(together))
            except Exception as exc:
                results.extend([exc] * len(together))
        return results

    def _write_together(self, writes: list[Write]) -> list[int | None]:
        if isinstance(writes[0], Publication):
            for write in writes:
                assert isinstance(write, Publication)
                write.carry_out()
            return [None] * len(writes)
        self._check_writable()
        # Outside the transaction: it takes the lock of the filters, whose holder may wait for the rows.
        filtered = [self._filtered(write) for write in writes]
        change = Change()
        vectors: list[Matrix] = []
        results: list[int | None] = []
        with self._moving:
            try:
                with self._rows.transaction():
                    for write, chosen in zip(writes, filtered, strict=True):
                        if isinstance(write, Addition):
                            kept = self._rows.add(write, change)
                            vectors.append(write.scaled if len(kept) == len(write.uids) else write.scaled[kept])
                            results.append(None)
                        elif isinstance(write, Removal):
                            results.append(self._remove(write, chosen, change))
            except sqlite3.Error as exc:
                self._stop_writing_if_lost(exc)
                raise
            try:
                self._index.apply(change, vectors)
            except BaseException as exc:
                # The rows are committed but the view lacks them: what is read from now on could be wrong.
                self._write_failure = ("the index could not follow a write", "open the store again")
                raise StoreError("the index could not follow a write", hint="open the store again") from exc
        self.counters["commits"] += 1
        self.counters["added"] += len(change.added)
        self.counters["deleted"] += sum(result or 0 for result in results)
        return results

    def _check_writable(self) -> None:
        if self._write_failure is not None:
            message, hint = self._write_failure
            raise StoreError(message, hint=hint)  # a new one: each caller's traceback is its own

    def _filtered(self, write: Write) -> BitMap | None:
        """The rows a removal's filter chooses, expired ones too; None when it has none."""
        if not isinstance(write, Removal) or write.tree is None:
            return None
        return self._index.candidates(self._index.view, self._scope_id(write.scope), write.tree, -np.inf)

    def _remove(self, removal: Removal, filtered: BitMap | None, change: Change) -> int:
        if removal.uids is None:
            assert filtered is not None
            seqs = filtered
        else:
            seqs = BitMap(self._rows.named(removal.uids, removal.scope))
            seqs = seqs if filtered is None else seqs & filtered
        self._rows.remove(array_of(seqs).tolist(), change)
        return len(seqs) - seqs.intersection_cardinality(self._index.expired(time.time()))

    def _stop_writing_if_lost(self, exc: sqlite3.Error) -> None:
        if schema.is_io_failure(exc):
            self._write_failure = (
                "the disk failed during a write, so this store accepts no more",
                "check the disk, then open the store again",
            )
            _log.error("store.write_failure", extra={"sqlite_error": getattr(exc, "sqlite_errorname", "")})

    def _scope_id(self, scope: Scope | None) -> int | None:
        if scope is None:
            return None
        found = self._rows.scope_id(scope)
        return _NOWHERE if found is None else found

    # -- searching ------------------------------------------------------------------------------------------------

    def search(self, searches: list[Search]) -> list[list[list[Match]] | BaseException]:
        """Carry out many callers' searches: those of equal scope and filter in one pass."""
        faiss.omp_set_num_threads(1)  # this thread's; OpenMP barriers cost 8 ms when other threads want the cores
        results: list[list[list[Match]] | BaseException] = [[] for _ in searches]
        groups: dict[tuple[str, Scope | None, Filter | None], list[int]] = {}
        for i, search in enumerate(searches):
            groups.setdefault((search.kind, search.scope, search.tree), []).append(i)
        for members in groups.values():
            try:
                with self._ready():
                    found = self._search_together([searches[i] for i in members])
            except Exception as exc:
                for i in members:
                    results[i] = exc
                continue
            for i, result in zip(members, found, strict=True):
                results[i] = result
        self.counters["searches"] += len(searches)
        return results

    def _search_together(self, searches: list[Search]) -> Sequence[list[list[Match]]]:
        ranked, hits = self._whole(partial(self._look, searches))
        found: list[list[list[Match]]] = []
        start = 0
        for search in searches:
            stop = start + (len(search.queries) or 1)
            found.append([self._matches(*each, hits, search) for each in ranked[start:stop]])
            start = stop
        return found

    def _whole(self, look: Callable[[], tuple[Found, bool]]) -> Found:
        """What a look at the view, then at the rows, finds; none of it deleted or replaced between the two."""
        for _ in range(_TRIES):
            try:
                found, whole = look()
            except _StaleViewError:
                continue
            if whole:
                return found
        with self._moving:
            return look()[0]

    def _look(self, searches: list[Search]) -> tuple[tuple[list[_Ranked], dict[int, Hit]], bool]:
        """The best rows of the present view for each query, what they hold, and whether all were still there."""
        ranked: list[_Ranked]
        view = self._index.view
        scope = self._scope_id(searches[0].scope)
        candidates = self._candidates(view, searches[0].scope, searches[0].tree)
        if searches[0].kind == "vector":
            queries = np.concatenate([search.queries for search in searches])
            scores, rows = view.search(queries, max(search.top_k for search in searches), candidates)
            ranked = list(zip(scores, rows, strict=True))
        else:
            links, keywords = self._index.links, self._keywords
            ranked = ranked_by_words(view, searches, scope, candidates, links=links, keywords=keywords)
        wanted = {row for _, rows in ranked for row in rows.tolist() if row >= 0}
        hits = self._rows.hits(list(wanted))
        return (ranked, hits), len(hits) == len(wanted)

    def _matches(
        self, scores: NDArray[np.float32], rows: NDArray[np.int64], hits: dict[int, Hit], search: Search
    ) -> list[Match]:
        if self._unit and search.kind != "keyword":
            scores = np.clip(scores, -1.0, 1.0)  # rounding may leave 1.0000001
        matches = []
        for score, row in zip(scores[: search.top_k].tolist(), rows[: search.top_k].tolist(), strict=True):
            hit = hits.get(row)
            if hit is not None:
                # Two queries of one pass may show the same row; each caller owns what it gets.
                matches.append(Match(hit.metadata(), score if search.return_scores else 0.0, hit.uid))
        return matches

    def search_with_predicate(self, search: Search, predicate: FilterFn) -> list[Match]:
        """Rank every candidate, then show them to the predicate a page at a time until enough have passed."""
        faiss.omp_set_num_threads(1)
        passed, whole = self._look_with_predicate(search, predicate)
        for _ in range(_TRIES):
            if whole:
                break
            passed, whole = self._look_with_predicate(search, predicate)
        return passed  # what was replaced again and again while the predicate ran may be missing

    def _look_with_predicate(self, search: Search, predicate: FilterFn) -> tuple[list[Match], bool]:
        with self._ready():
            scores, rows = self._whole(partial(self._rank, search))
        passed: list[Match] = []
        whole = True
        for start in range(0, len(rows), _PREDICATE_PAGE):
            page = slice(start, start + _PREDICATE_PAGE)
            with self._ready():
                hits = self._rows.hits(rows[page].tolist())
            whole = whole and len(hits) == len(rows[page])
            every = replace(search, top_k=_PREDICATE_PAGE)
            for match in self._matches(scores[page], rows[page], hits, every):
                if predicate(match.metadata):
                    passed.append(match)
                    if len(passed) == search.top_k:
                        return passed, whole
        return passed, whole

    def _rank(self, search: Search) -> tuple[tuple[Matrix, NDArray[np.int64]], bool]:
        view = self._index.view
        return view.ranking(search.queries, self._candidates(view, search.scope, search.tree)), True

    def _candidates(self, view: View, scope: Scope | None, tree: Filter | None) -> BitMap:
        return self._index.candidates(view, self._scope_id(scope), tree, time.time())

    # -- reading --------------------------------------------------------------------------------------------------

    def get(self, uids: Sequence[str], scope: Scope | None) -> list[Record]:
        """The records of these names, in their order."""
        with self._ready():
            named: dict[str, list[Record]] = {}
            for record in self._rows.records_named(uids, self._scope_id(scope), time.time()):
                named.setdefault(record.uid, []).append(record)
            return [record for uid in uids for record in named.get(uid, ())]

    def count(self, scope: Scope | None, tree: Filter | None) -> int:
        """How many records match."""
        with self._ready():
            return self._whole(lambda: (len(self._candidates(self._index.view, scope, tree)), True))

    def scan(self, scope: Scope | None, tree: Filter | None, after: str, limit: int) -> list[Record]:
        """One page in the order of names; records of equal names (of several scopes) stay together."""
        with self._ready():
            return self._whole(partial(self._page, scope, tree, after, limit))

    def _page(self, scope: Scope | None, tree: Filter | None, after: str, limit: int) -> tuple[list[Record], bool]:
        view = self._index.view
        candidates = self._candidates(view, scope, tree)
        if len(candidates) ** 2 <= limit * len(view.live):
            found = self._rows.names(array_of(candidates).tolist())
            whole = len(found) == len(candidates)
            named = iter(found[bisect_right(found, after, key=itemgetter(1)) :])
        else:  # so many that some of them are met every few steps on the way through all names
            walked = self._rows.after(after)
            named = (found for found in walked if found[0] in candidates or found[0] > view.last_row)
            whole = True
        page = list(islice(named, limit))
        if len(page) == limit:
            page.extend(takewhile(lambda found: found[1] == page[-1][1], named))
        whole = whole and all(seq <= view.last_row for seq, _ in page)
        records = self._rows.records([seq for seq, _ in page])
        return records, whole and len(records) == len(page)

    def stats(self) -> dict[str, JSONValue]:
        """Sizes now, and what was done since opening."""
        with self._ready():
            return {
                "records": len(self._candidates(self._index.view, None, None)),
                "namespaces": self._index.scope_count(),
                "segments": len(self._index.sealed),
                "tail_rows": len(self._index.tail),
                "size_bytes": self._rows.size_bytes(),
                **self.counters,
            }


_NOWHERE = -1
"""The number of a scope nothing was ever written to; no row has it."""


def _transaction_key(numbered: tuple[int, Write]) -> tuple[str, int]:
    position, write = numbered
    match write:
        case Publication():
            return ("publication", 0)
        case Removal(tree=None, uids=list()) | Addition():
            return ("rows", 0)
        case _:
            return ("filter", position)
