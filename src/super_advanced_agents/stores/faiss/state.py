"""The state shared by the readers, the searcher and the writer of one store."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from typing import TypeVar

from pyroaring import BitMap

from super_advanced_agents._runtime.concurrency.budget import unlimited
from super_advanced_agents._runtime.disk import sqlite_errors
from super_advanced_agents._runtime.disk.files import raise_if_out_of_descriptors
from super_advanced_agents.errors import StoreError
from super_advanced_agents.stores.faiss.index import Index
from super_advanced_agents.stores.faiss.keywords.tenants import KeywordIndexes
from super_advanced_agents.stores.faiss.metadata.index import _StaleViewError
from super_advanced_agents.stores.faiss.metadata.selections import Selection
from super_advanced_agents.stores.faiss.rows.table import RecordTable
from super_advanced_agents.stores.faiss.vectors.view import View
from super_advanced_agents.stores.filters import Filter
from super_advanced_agents.stores.records.scope import Scope

Result = TypeVar("Result")

_TRIES = 3
_UNKNOWN_SCOPE = -1
"""Stands for a scope to which nothing was ever written; no row has it."""


class State:
    """Hold the table and indexes of one store. Methods block, so only worker threads call them.

    Args:
        rows: the table of records.
        index: the vector and metadata indexes.
        keywords: the keyword indexes.
        load: fills the index from the rows, at first use.

    Attributes:
        commit_lock: held from before a commit until the view includes it.
        counters: numbers of commits and of rows written, since the store was opened.
    """

    def __init__(self, rows: RecordTable, index: Index, keywords: KeywordIndexes, load: Callable[[], None]) -> None:
        self.rows = rows
        self.index = index
        self.keywords = keywords
        self.commit_lock = threading.Lock()
        self.counters = {"commits": 0, "added": 0, "deleted": 0}
        self._load = load
        self._loaded = False
        self._load_lock = threading.Lock()

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Enter a context that loads the index on first use and maps errors of SQLite and files."""
        try:
            if not self._loaded:
                with self._load_lock:
                    if not self._loaded:
                        with unlimited():
                            self._load()
                        self._loaded = True
            yield
        except sqlite3.Error as exc:
            raise sqlite_errors.map_error(exc) from exc
        except OSError as exc:
            raise_if_out_of_descriptors(exc)
            raise

    def check_files(self) -> None:
        """Raise if a file of the database was lost; save what only a lost file holds if possible.

        What was forgotten a minute ago is removed from the write-ahead log as well.

        Raises:
            StoreError: a file was removed, replaced, emptied or cut by others.
        """
        log = self.rows.log
        if log is None:
            return
        try:
            log.watch.check()
        finally:
            if log.watch.log_lost or log.holds_forgotten:
                with self.commit_lock:
                    log.save_if_lost()
                    log.truncate_if_due()

    def scope_id(self, scope: Scope | None) -> int | None:
        """Return the number of a tenant's namespace; -1 if it was never written to.

        None, which stands for the whole store, has no number and is returned unchanged.
        """
        if scope is None:
            return None
        number = self.rows.scope_id(scope)
        return _UNKNOWN_SCOPE if number is None else number

    def candidates(self, view: View, scope: Scope | None, tree: Filter | None) -> BitMap:
        """Return the rows of a namespace that match a metadata filter and have not expired.

        `scope` names one tenant's namespace; None is the whole store. `view` is the state of the index to select from.
        """
        return self.index.candidates(view, self.scope_id(scope), tree, self.rows.clock.now())

    def selection(self, view: View, scope: Scope | None, tree: Filter | None) -> Selection:
        """Return the unexpired rows of a namespace that match a filter, from a cache if possible.

        `scope` names one tenant's namespace; None is the whole store. `view` is the state of the index to select from.
        """
        return self.index.selection(view, self.scope_id(scope), tree, self.rows.clock.now())

    def prepare(self, scope: Scope | None, tree: Filter) -> None:
        """Evaluate a slow metadata filter in advance, before the request that needs it."""
        with self.ready():
            self.index.prepare(self.scope_id(scope), tree)

    @contextmanager
    def views(self) -> Iterator[Iterator[View]]:
        """Enter a context with an iterator of index states; a read tries them one after the other.

        A request searches a view first and reads the rows after; rows that were deleted in between are missing, so it
        tries the next view. During the last try no commit can run, so its rows are complete.
        """
        with self.ready(), closing(self._views()) as views:
            yield views

    def _views(self) -> Generator[View]:
        for _ in range(_TRIES):
            yield self.index.view
        with self.commit_lock:
            yield self.index.view

    def read_consistently(self, read: Callable[[View], tuple[Result, bool]]) -> Result:
        """Call `read` on newer and newer states of the index until no row it needs is missing.

        Returns the result of the last call.

        Args:
            read: takes a view (a state of the index); returns its result, and True if all rows that it needed were
                still there.
        """
        results: list[Result] = []
        with self.views() as views:
            for view in views:
                with suppress(_StaleViewError):
                    result, complete = read(view)
                    results.append(result)
                    if complete:
                        break
        if not results:
            raise stale_index_error()
        return results[-1]


def stale_index_error() -> StoreError:
    """Return the error of an index that still lists rows which the table lost without a commit."""
    return StoreError("the index lists rows that the table does not have", hint="open the store again to rebuild it")
