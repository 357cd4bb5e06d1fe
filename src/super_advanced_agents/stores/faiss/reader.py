"""Reads other than searches: records by uid, counts, pages and statistics."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from itertools import islice, takewhile
from operator import itemgetter

from super_advanced_agents._runtime.concurrency.budget import answer_allowance
from super_advanced_agents._runtime.concurrency.gil import yield_gil
from super_advanced_agents.config import Limits
from super_advanced_agents.stores.faiss.counters import Counters
from super_advanced_agents.stores.faiss.metadata.columns import array_of
from super_advanced_agents.stores.faiss.state import State
from super_advanced_agents.stores.faiss.vectors.view import View
from super_advanced_agents.stores.filters import Filter
from super_advanced_agents.stores.records.answer_sizes import AnswerNeedsReservationError, Page, answer_too_large
from super_advanced_agents.stores.records.scope import Scope
from super_advanced_agents.stores.requests import ScanRequest
from super_advanced_agents.types import JSONValue, Record

_BLOCK = 64
"""The number of records that are read before their bytes are counted, 5 MiB at most."""
_WALKED = 4_096
"""The number of uids walked between two pauses, about a millisecond."""


class RecordReader:
    """Read records, counts and statistics. Methods block, so only worker threads call them.

    Methods raise errors of the package only.

    Args:
        state: the shared state of the store.
        limits: the limits of an answer.

    Attributes:
        search_counts: the number of searches by mode; the store increments them.
    """

    def __init__(self, state: State, limits: Limits) -> None:
        self._state = state
        self._limits = limits
        self.search_counts = Counters()

    def get(self, uids: Sequence[str], scope: Scope | None, number_bytes: int) -> list[Record]:
        """Return the records with these ids (uids), in the given order; unknown ids are skipped.

        Raises:
            InvalidInputError: they are larger than an answer may be, with `number_bytes` for each number of a vector.
        """
        times, left, most = Counter(uids), self._limits.answer_bytes, answer_allowance()
        limited = most is not None and most < left
        left = left if most is None else min(most, left)
        with self._state.ready():
            by_uid: dict[str, list[Record]] = {}
            scope_id, rows = self._state.scope_id(scope), self._state.rows
            with closing(rows.records_by_uid(uids, scope_id, rows.clock.now(), number_bytes)) as found:
                for record, size in found:
                    left -= size * times[record.uid]
                    if left < 0 and limited:
                        raise AnswerNeedsReservationError
                    if left < 0:
                        raise answer_too_large(self._limits, "uids", "ask for fewer uids in one call")
                    by_uid.setdefault(record.uid, []).append(record)
            return [record for uid in uids for record in by_uid.get(uid, ())]

    def check_model(self, scope: Scope | None, model_id: str | None) -> None:
        """Raise if a namespace has vectors of another embedding model than `model_id`.

        Raises:
            ModelMismatchError: it has such a vector.
        """
        assert scope is not None
        assert model_id is not None
        with self._state.ready():
            self._state.rows.check_query_model(scope, model_id, self._state.rows.clock.now())

    def count(self, scope: Scope | None, tree: Filter | None) -> int:
        """Count the unexpired records of a tenant's namespace that match a filter."""
        return self._state.read_consistently(lambda view: (len(self._state.candidates(view, scope, tree)), True))

    def namespaces(self, tenant: str, limit: int) -> list[str]:
        """Return the first namespaces by name in which a tenant has unexpired records."""

        def read(view: View) -> tuple[list[str], bool]:
            named = yield_gil(self._state.rows.namespaces(tenant))
            held = (name for name in named if self._state.candidates(view, Scope(tenant, name), None))
            return list(islice(held, limit)), True

        return self._state.read_consistently(read)

    def scan(self, request: ScanRequest, scope: Scope | None) -> Page:
        """Return one page of the records in a namespace that match a filter, ordered by uid.

        `scope` names one tenant's namespace; None is the whole store. The page ends early when it has `page_bytes`.
        Records of several namespaces that have the same uid are never split between pages, so a page may exceed the
        request's `limit`.

        Raises:
            InvalidInputError: the records of one uid are larger than an answer may be.
        """
        return self._state.read_consistently(partial(self._page, request, scope))

    def _page(self, request: ScanRequest, scope: Scope | None, view: View) -> tuple[Page, bool]:
        after, limit = request.after or "", request.limit
        candidates = self._state.candidates(view, scope, request.tree)
        if len(candidates) ** 2 <= limit * len(view.live):
            uids = self._state.rows.uids(array_of(candidates).tolist())
            complete = len(uids) == len(candidates)
            remaining = iter(uids[bisect_right(uids, after, key=itemgetter(1)) :])
        else:  # candidates are dense enough to walk all uids in order and stop early
            walked = yield_gil(self._state.rows.uids_after(after), every=_WALKED)
            remaining = (row for row in walked if row[0] in candidates or row[0] > view.last_row)
            del walked
            complete = True
        page = list(islice(remaining, limit))
        if len(page) == limit:
            page.extend(takewhile(lambda row: row[1] == page[-1][1], remaining))
        remaining = iter(())  # ends the query
        complete = complete and all(seq <= view.last_row for seq, _ in page)
        records = self._read_page([seq for seq, _ in page], request.number_bytes)
        return records, complete and (records.cut or len(records) == len(page))

    def _read_page(self, seqs: Sequence[int], number_bytes: int) -> Page:
        records, size, most = Page(), 0, answer_allowance()
        for start in range(0, len(seqs), _BLOCK):
            with closing(self._state.rows.sized_records(seqs[start : start + _BLOCK], number_bytes)) as block:
                for record, record_bytes in block:
                    if size >= self._limits.page_bytes and record.uid != records[-1].uid:
                        records.cut = True
                        return records
                    records.append(record)
                    size += record_bytes
                    if most is not None and size > most and len(records) > 1:
                        raise AnswerNeedsReservationError
            if size > self._limits.page_bytes + self._limits.answer_bytes:  # of one uid in very many namespaces
                raise answer_too_large(self._limits, "namespace", "name one namespace")
        return records

    def stats(self) -> dict[str, JSONValue]:
        """Return the sizes of the store, and its counters since it was opened."""
        with self._state.ready():
            rows, index = self._state.rows, self._state.index
            view = index.view
            oldest, newest = rows.times_written()
            search_counts = self.search_counts.counts()
            return {
                "records": self.count(None, None),
                "rows": len(view.live),
                "expired": len(index.expired(rows.clock.now()) & view.live),
                "namespaces": index.scope_count(),
                "models": {**rows.models()},
                "segments": len(index.sealed),
                "tail_rows": len(index.tail),
                "size_bytes": rows.size_bytes(),
                "log_bytes": rows.log_bytes(),
                "oldest_write_at": oldest,
                "newest_write_at": newest,
                **self._state.counters,
                "searches": sum(search_counts.values()),
                "searches_by_mode": {**search_counts},
            }
