"""An inverted index over metadata, so that filters are evaluated by set operations.

It maps each field and value to the rows that have it. The first filter builds it, and each later one indexes the rows
that are new since, so a store without filters pays nothing. The metadata of a row number never changes, so results for
known rows stay correct when others are added. Many threads evaluate filters at once: the lock is held for one short
step at a time, and never while rows are read.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from pyroaring import BitMap

from super_advanced_agents._runtime.budget import check_budget, unlimited
from super_advanced_agents._runtime.gil import yield_gil
from super_advanced_agents.stores.faiss.metadata.columns import MetadataColumn, Term
from super_advanced_agents.stores.filters import And, Filter, Not, Or, matches
from super_advanced_agents.types import JSONValue, Metadata

_PAGE = 256
"""The number of rows read at a time."""
_SLOW_BACKLOG_ROWS = 2_048
"""Indexing more new rows than this takes longer than other requests should wait."""
_SPARE_ROWS = 1_024
"""Deleted rows are dropped once they outnumber the live ones by more than this."""

FetchMetadata = Callable[[Sequence[int]], Mapping[int, Metadata]]


class _StaleViewError(Exception):
    """Signal that a row was deleted before the current request could read it.

    Only the engine catches it, and repeats the request with a newer view.
    """


@dataclass(slots=True)
class _Progress:
    evaluated: BitMap = field(default_factory=BitMap)
    matching: BitMap = field(default_factory=BitMap)
    users: int = 0


class MetadataIndex:
    """Evaluate metadata filters on the rows of one store, from any thread.

    Args:
        metadata_between: yields (row, metadata without its text) of the rows in (after, last], in row order.
        fetch: returns the metadata of rows with its text; deleted rows are missing.
    """

    def __init__(
        self, metadata_between: Callable[[int, int], Iterator[tuple[int, Metadata]]], fetch: FetchMetadata
    ) -> None:
        self._metadata_between = metadata_between
        self._fetch = fetch
        self._columns: dict[str, MetadataColumn] = {}
        self._last_indexed = 0
        self._indexed_rows = BitMap()
        self._progress: dict[Filter, _Progress] = {}
        self._lock = threading.Lock()
        self._catch_up_lock = threading.Lock()
        self._drop_lock = threading.Lock()

    def is_slow(self, tree: Filter, live: BitMap, last_row: int) -> bool:
        """Return True if evaluating a filter may noticeably delay other requests.

        The check itself is fast.
        """
        behind = last_row - self._last_indexed > _SLOW_BACKLOG_ROWS
        return behind or self._has_many_dead(live) or any(self._is_slow(term) for term in _terms(tree))

    @contextmanager
    def keep_progress(self, tree: Filter) -> Iterator[None]:
        """Enter a context in which repeated evaluations of a filter reuse earlier results.

        Inside it, evaluating the filter again looks only at rows that it was not evaluated on before.
        """
        with self._lock:
            progress = self._progress.setdefault(tree, _Progress())
            progress.users += 1
        try:
            yield
        finally:
            with self._lock:
                progress.users -= 1
                if not progress.users:
                    del self._progress[tree]

    def evaluate(self, tree: Filter, rows: BitMap, last_row: int) -> BitMap:
        """Return the subset of the given rows whose metadata matches a filter.

        Args:
            tree: the filter.
            rows: the rows to look at.
            last_row: the newest row that may be among them.

        Raises:
            _StaleViewError: some of `rows` were deleted since, and their metadata is no longer known.
        """
        self._catch_up(last_row)
        self._check_indexed(rows)
        progress = self._progress.get(tree) or _Progress()
        remaining = rows - progress.evaluated if progress.evaluated else rows
        certain, possible = self._bounds(tree, remaining)
        self._check_indexed(rows)  # `drop_dead` may have removed some while the columns were read
        undecided = possible - certain
        progress.matching |= certain
        progress.evaluated |= remaining - undecided
        self._evaluate_by_reading(tree, undecided, progress)
        return rows & progress.matching

    def drop_dead(self, live: BitMap, last_row: int) -> None:
        """Remove deleted rows from the index, once they outnumber the rows that exist.

        Rows above `last_row` are newer than `live` and stay. Returns at once when another thread is removing rows.
        """
        if not self._has_many_dead(live) or not self._drop_lock.acquire(blocking=False):
            return
        try:
            with self._lock:
                dead = self._indexed_rows - live
                dead.remove_range(last_row + 1, 2**32)
                self._indexed_rows -= dead  # first, so that a thread that needs one of them sees that its view is stale
                columns = list(self._columns.items())
            for key, column in columns:
                with unlimited():
                    column.drop(dead)
                with self._lock:
                    if not column.present:
                        del self._columns[key]
        finally:
            self._drop_lock.release()

    def _has_many_dead(self, live: BitMap) -> bool:
        return len(self._indexed_rows) > 2 * len(live) + _SPARE_ROWS

    def _is_slow(self, term: Term) -> bool:
        column = self._columns.get(term.key)
        return _is_text(term) or (column is not None and column.is_slow(term))

    def _check_indexed(self, rows: BitMap) -> None:
        with self._lock:
            if not rows.issubset(self._indexed_rows):
                raise _StaleViewError

    def _catch_up(self, last_row: int) -> None:
        if self._last_indexed >= last_row:
            return
        with self._catch_up_lock, unlimited():
            page = []
            for row, metadata in yield_gil(self._metadata_between(self._last_indexed, last_row)):
                page.append((row, list(_flatten(metadata))))
                if len(page) == _PAGE:
                    self._add(page)  # an interruption half-way leaves the rest for the next call
                    page = []
            self._add(page)
            self._last_indexed = max(self._last_indexed, last_row)

    def _add(self, page: list[tuple[int, list[tuple[str, JSONValue]]]]) -> None:
        with self._lock:
            for row, fields in page:
                self._indexed_rows.add(row)
                for key, value in fields:
                    if key not in self._columns:
                        self._columns[key] = MetadataColumn(self._lock)
                    self._columns[key].add(value, row)
                self._last_indexed = row

    def _bounds(self, tree: Filter, rows: BitMap) -> tuple[BitMap, BitMap]:
        # The rows that certainly match, and those that may: they have values that are not indexed, and must be read.
        match tree:
            case And(operands):
                certain = possible = rows
                for operand in operands:
                    if not possible:
                        break
                    operand_certain, operand_possible = self._bounds(operand, possible)
                    certain, possible = certain & operand_certain, operand_possible
                return certain, possible
            case Or(operands):
                bounds = [self._bounds(operand, rows) for operand in operands]
                return BitMap.union(*(lower for lower, _ in bounds)), BitMap.union(*(upper for _, upper in bounds))
            case Not(operand):
                operand_certain, operand_possible = self._bounds(operand, rows)
                return rows - operand_possible, rows - operand_certain
            case _:
                return self._bounds_of_term(tree, rows)

    def _bounds_of_term(self, term: Term, rows: BitMap) -> tuple[BitMap, BitMap]:
        check_budget()
        if _is_text(term):
            return BitMap(), rows  # texts are not indexed here
        column = self._columns.get(term.key)
        if column is None:
            return BitMap(), BitMap()
        certain, undecided = column.matching(term) & rows, column.undecided(term)
        return certain, certain | (undecided & rows) if undecided else certain

    def _evaluate_by_reading(self, tree: Filter, rows: BitMap, progress: _Progress) -> None:
        stale = False
        unread = rows.to_array()
        for start in range(0, len(unread), _PAGE):
            page = unread[start : start + _PAGE].tolist()
            fetched = self._fetch(page)
            items = yield_gil(fetched.items(), every=_PAGE)
            progress.matching |= BitMap([row for row, metadata in items if matches(tree, metadata)])
            progress.evaluated |= BitMap(list(fetched))
            stale = stale or len(fetched) < len(page)
        if stale:  # raised at the end, so that the next attempt has only the new rows to read
            raise _StaleViewError


def _is_text(term: Term) -> bool:
    return term.key == "text" or term.key.startswith("text.")


def _terms(tree: Filter) -> Iterator[Term]:
    match tree:
        case And(operands) | Or(operands):
            for operand in operands:
                yield from _terms(operand)
        case Not(operand):
            yield from _terms(operand)
        case _:
            yield tree


def _flatten(metadata: Metadata) -> Iterable[tuple[str, JSONValue]]:
    # The names are the keys, and dotted paths into nested objects unless a key has exactly that name.
    for key, value in metadata.items():
        yield key, value
        if isinstance(value, dict) and "." not in key:
            yield from ((path, inner) for path, inner in _paths(key, value) if path not in metadata)


def _paths(prefix: str, value: Mapping[str, JSONValue]) -> Iterable[tuple[str, JSONValue]]:
    for key, inner in value.items():
        if "." in key:
            continue  # a path reads a dot as a step, so this key cannot be reached
        path = f"{prefix}.{key}"
        yield path, inner
        if isinstance(inner, dict):
            yield from _paths(path, inner)
