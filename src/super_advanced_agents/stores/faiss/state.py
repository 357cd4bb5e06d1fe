"""What the three sides of a store share: its rows, its index, and how a look at both is made whole."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from pyroaring import BitMap

from super_advanced_agents._runtime import sqlite
from super_advanced_agents.stores.faiss.index import Index
from super_advanced_agents.stores.faiss.keywords.index import Keywords
from super_advanced_agents.stores.faiss.metadata.index import _StaleViewError
from super_advanced_agents.stores.faiss.metadata.selections import Selection
from super_advanced_agents.stores.faiss.rows.batch import Scope
from super_advanced_agents.stores.faiss.rows.table import RecordTable
from super_advanced_agents.stores.faiss.vectors.view import View
from super_advanced_agents.stores.filters import Filter

Found = TypeVar("Found")

_TRIES = 3
_NOWHERE = -1
"""The number of a scope nothing was ever written to; no row has it."""


class State:
    """Rows and indexes of one store, used by worker threads only."""

    def __init__(self, rows: RecordTable, index: Index, keywords: Keywords, load: Callable[[], None]) -> None:
        self.rows = rows
        self.index = index
        self.keywords = keywords
        self.moving = threading.Lock()  # held from before a commit until the view has followed it
        self.counters = {"commits": 0, "added": 0, "deleted": 0}
        self._load = load
        self._loaded = False
        self._loading = threading.Lock()

    @contextmanager
    def ready(self) -> Iterator[None]:
        """The index is loaded inside, and what SQLite says is translated."""
        try:
            if not self._loaded:
                with self._loading:
                    if not self._loaded:
                        self._load()
                        self._loaded = True
            yield
        except sqlite3.Error as exc:
            raise sqlite.translated(exc) from exc

    def scope_id(self, scope: Scope | None) -> int | None:
        """The number of a scope; None for everywhere."""
        if scope is None:
            return None
        found = self.rows.scope_id(scope)
        return _NOWHERE if found is None else found

    def candidates(self, view: View, scope: Scope | None, tree: Filter | None) -> BitMap:
        """The rows of a view that a caller may see now."""
        return self.index.candidates(view, self.scope_id(scope), tree, time.time())

    def selection(self, view: View, scope: Scope | None, tree: Filter | None) -> Selection:
        """The same, kept for equal searches."""
        return self.index.selection(view, self.scope_id(scope), tree, time.time())

    def prepare(self, scope: Scope | None, tree: Filter) -> None:
        """Do what is slow of a filter before a search or a write that others wait for."""
        with self.ready():
            self.index.prepare(self.scope_id(scope), tree)

    def whole(self, look: Callable[[], tuple[Found, bool]]) -> Found:
        """What a look at the view, then at the rows, finds; none of it deleted or replaced between the two."""
        for _ in range(_TRIES):
            try:
                found, whole = look()
            except _StaleViewError:
                continue
            if whole:
                return found
        with self.moving:
            return look()[0]
