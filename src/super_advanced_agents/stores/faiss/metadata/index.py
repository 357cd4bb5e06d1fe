"""An inverted index over one tenant's metadata, for filters by set operations.

It maps each field and value to the rows that have it. A filter first indexes those of its rows that are not in it yet,
so a store without filters pays nothing, and no tenant pays for the rows of another. The metadata of a row number never
changes, so results for known rows stay correct when others are added. Many threads evaluate filters at once: the lock
is held for one short step at a time, and never while rows are read.

The number of fields and the memory are bounded. What is beyond is not indexed: its rows are read from the table.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from pyroaring import BitMap

from super_advanced_agents._runtime.concurrency.budget import check_budget, unlimited
from super_advanced_agents._runtime.concurrency.gil import yield_gil
from super_advanced_agents.stores.faiss.metadata.field_index import FIELD_BYTES, FieldIndex, Term
from super_advanced_agents.stores.faiss.metadata.record_fields import FieldSource, RecordFieldIndexes, outnumbered
from super_advanced_agents.stores.filters import MAX_KEY_CHARS, And, Filter, Not, Or, is_field_name, matches
from super_advanced_agents.stores.records.record_fields import RECORD_FIELDS
from super_advanced_agents.types import JSONValue, Metadata

MAX_FIELDS = 1_000
"""The number of a tenant's fields that are indexed, counting each path into nested objects."""
_BASE_BYTES = 32 * 1024 * 1024
_BYTES_PER_CHAR = 6
"""Bytes that the index may take beside the base, for each character of metadata as JSON.

Typical metadata takes 2 to 3. Without a bound, a list of short strings would take 40.
"""
_PAGE = 256
"""The number of rows read at a time."""
_PAGE_CHARS = 64 * 1024
"""The characters of metadata that are indexed while the lock is held."""
_SLOW_BACKLOG_ROWS = 2_048
"""Indexing more new rows than this takes longer than other requests should wait."""
_SPARE_ROWS = 1_024
"""Deleted rows are dropped once they outnumber the live ones by more than this."""


class _StaleViewError(Exception):
    """Signal that a row was deleted before the current request could read it.

    Only the engine catches it, and repeats the request with a newer view.
    """


@dataclass(slots=True)
class _Progress:
    evaluated: BitMap = field(default_factory=BitMap)
    matching: BitMap = field(default_factory=BitMap)
    users: int = 0


class MetadataSource(FieldSource, Protocol):
    """The reads that a metadata index makes of the table of rows."""

    def sized_metadata_of(self, seqs: Sequence[int]) -> list[tuple[int, int, Metadata]]:
        """Return (row, characters of JSON, metadata without the text); deleted rows are missing."""

    def metadata_of(self, seqs: Sequence[int]) -> list[tuple[int, Metadata]]:
        """Return (row, metadata with the text and the own fields); deleted rows are missing."""


class _Fields(NamedTuple):
    """Hold the indexed fields of one row, and the length of its metadata as JSON in `chars`."""

    row: int
    chars: int
    values: list[tuple[str, JSONValue]]


class MetadataIndex:
    """Evaluate metadata filters on the rows of one tenant, from any thread.

    Args:
        rows: the table that holds the rows.
    """

    def __init__(self, rows: MetadataSource) -> None:
        self._rows = rows
        self._record_fields = RecordFieldIndexes(rows)
        self._progress: dict[Filter, _Progress] = {}
        self._lock = threading.Lock()
        self._catch_up_lock = threading.Lock()
        self._drop_lock = threading.Lock()
        self._generation = 0
        self._reset()

    def _reset(self) -> None:
        self._fields: dict[str, FieldIndex] = {}
        self._indexed_rows = BitMap()
        self._skipped_rows = BitMap()  # rows without any indexed field, because the memory is used up
        self._partial_rows = BitMap()  # rows with more fields than are indexed
        self._size_bytes, self._max_bytes = 0, _BASE_BYTES
        self._generation += 1

    def is_slow(self, tree: Filter, rows: BitMap, live: BitMap) -> bool:
        """Return True if evaluating a filter on these rows may noticeably delay other requests.

        The check itself is fast. `live` are the rows of all tenants that exist.
        """
        return self.has_many_dead(live) or any(self._is_slow(term, rows) for term in _terms(tree))

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

    def evaluate(self, tree: Filter, rows: BitMap) -> BitMap:
        """Return the subset of the given rows whose metadata matches a filter.

        Raises:
            _StaleViewError: some of `rows` were deleted since, and their metadata is no longer known.
        """
        by_metadata, generation = any(term.key not in RECORD_FIELDS for term in _terms(tree)), 0
        if by_metadata:
            self._catch_up(rows)
            generation = self._generation
            self._check_indexed(rows, generation)
        progress = self._progress.get(tree) or _Progress()
        remaining = rows - progress.evaluated if progress.evaluated else rows
        certain, possible = self._bounds(tree, remaining)
        if by_metadata:
            self._check_indexed(rows, generation)  # `drop_dead` may have removed some while the fields were read
        undecided = possible - certain
        progress.matching |= certain
        progress.evaluated |= remaining - undecided
        self._evaluate_by_reading(tree, undecided, progress)
        return rows & progress.matching

    def drop_dead(self, live: BitMap, last_row: int) -> None:
        """Remove deleted rows from the index, once they outnumber the rows that exist.

        Rows above `last_row` are newer than `live` and stay. Returns at once when another thread is removing rows.
        """
        self._record_fields.drop(live, _SPARE_ROWS)
        if not outnumbered(self._indexed_rows, live, _SPARE_ROWS) or not self._drop_lock.acquire(blocking=False):
            return
        try:
            with self._lock:
                dead = self._indexed_rows - live
                dead.remove_range(last_row + 1, 2**32)
                if len(dead) == len(self._indexed_rows) or self._skipped_rows or self._partial_rows:
                    self._reset()  # the next filter indexes the rows that are left, for which there is room now
                    return
                self._indexed_rows -= dead  # first, so that a thread that needs one of them sees that its view is stale
                fields = list(self._fields.items())
            for key, field_index in fields:
                with unlimited():
                    field_index.drop(dead)
                with self._lock:
                    if not field_index.present:
                        del self._fields[key]
            with unlimited():
                size_bytes = sum(field_index.size_bytes() for field_index in list(self._fields.values()))
            with self._lock:
                self._max_bytes -= int(
                    (self._max_bytes - _BASE_BYTES) * len(dead) / (len(dead) + len(self._indexed_rows))
                )
                self._size_bytes = size_bytes
        finally:
            self._drop_lock.release()

    def has_many_dead(self, live: BitMap) -> bool:
        """Return True if `drop_dead` would remove rows."""
        return outnumbered(self._indexed_rows, live, _SPARE_ROWS) or self._record_fields.has_many_dead(
            live, _SPARE_ROWS
        )

    def sizes(self) -> dict[str, int]:
        """Return the number of indexed rows, of fields and of their values, and the memory in bytes.

        Of records' own fields, the number of rows is returned by reserved name.
        """
        with self._lock:
            fields = dict(self._fields)
            sizes = {"rows": len(self._indexed_rows), "fields": len(fields), "bytes": self._size_bytes}
        for key, field_index in fields.items():
            sizes |= {f"{kind} of {key}": n for kind, n in field_index.table_sizes().items()}
        return sizes | self._record_fields.sizes()

    def _is_slow(self, term: Term, rows: BitMap) -> bool:
        if term.key in RECORD_FIELDS:
            behind = self._record_fields.missing(term.key, rows) > _SLOW_BACKLOG_ROWS
            return behind or self._record_fields.is_slow(term)
        if _is_text(term) or rows.difference_cardinality(self._indexed_rows) > _SLOW_BACKLOG_ROWS:
            return True
        field_index = self._fields.get(term.key)
        if field_index is None:
            return bool(self._skipped_rows or self._partial_rows)
        return bool(self._skipped_rows) or field_index.is_slow(term)

    def _check_indexed(self, rows: BitMap, generation: int) -> None:
        with self._lock:
            if generation != self._generation or not rows.issubset(self._indexed_rows):
                raise _StaleViewError

    def _catch_up(self, rows: BitMap) -> None:
        if rows.issubset(self._indexed_rows):
            return
        with self._catch_up_lock, unlimited():
            missing = (rows - self._indexed_rows).to_array()
            for start in range(0, len(missing), _PAGE):
                page: list[_Fields] = []
                unread = _PAGE_CHARS
                for row, chars, metadata in yield_gil(
                    self._rows.sized_metadata_of(missing[start : start + _PAGE].tolist())
                ):
                    page.append(_Fields(row, chars, list(_flatten(metadata))))
                    unread -= chars
                    if unread < 0:
                        self._add(page)
                        page, unread = [], _PAGE_CHARS
                self._add(page)  # an interruption half-way leaves the rest for the next call

    def _add(self, page: Iterable[_Fields]) -> None:
        with self._lock:
            for row, chars, values in page:
                self._indexed_rows.add(row)
                self._max_bytes += chars * _BYTES_PER_CHAR
                if self._size_bytes > self._max_bytes:
                    self._skipped_rows.add(row)
                    continue
                for key, value in values:
                    field_index = self._fields.get(key)
                    if field_index is None and len(self._fields) < MAX_FIELDS and is_field_name(key):
                        field_index = self._fields[key] = FieldIndex(self._lock, self._partial_rows.copy())
                        self._size_bytes += FIELD_BYTES
                    if field_index is not None:
                        self._size_bytes += field_index.add(value, row)
                    elif is_field_name(key):
                        self._partial_rows.add(row)

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
        if term.key in RECORD_FIELDS:
            own_index = self._record_fields.index(term.key, rows)
            if own_index is None:
                raise _StaleViewError
            certain = own_index.matching(term) & rows
            return certain, certain | (own_index.undecided(term) & rows)
        field_index = self._fields.get(term.key)
        if field_index is None:  # the rows that may have the field nevertheless
            return BitMap(), (self._skipped_rows | self._partial_rows) & rows
        certain, undecided = field_index.matching(term) & rows, field_index.undecided(term) | self._skipped_rows
        return certain, certain | (undecided & rows) if undecided else certain

    def _evaluate_by_reading(self, tree: Filter, rows: BitMap, progress: _Progress) -> None:
        stale = False
        unread = rows.to_array()
        for start in range(0, len(unread), _PAGE):
            page = unread[start : start + _PAGE].tolist()
            fetched: Mapping[int, Metadata] = dict(self._rows.metadata_of(page))
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
    # The names are the keys, and dotted paths into nested objects unless a key has exactly that name. No filter can
    # name a longer one.
    for key, value in metadata.items():
        if len(key) <= MAX_KEY_CHARS:
            yield key, value
            if isinstance(value, dict) and "." not in key:
                yield from ((path, inner) for path, inner in _paths(key, value) if path not in metadata)


def _paths(prefix: str, value: Mapping[str, JSONValue]) -> Iterable[tuple[str, JSONValue]]:
    for key, inner in value.items():
        if "." in key or len(prefix) + 1 + len(key) > MAX_KEY_CHARS:
            continue  # a path reads a dot as a step, so this key cannot be reached
        path = f"{prefix}.{key}"
        yield path, inner
        if isinstance(inner, dict):
            yield from _paths(path, inner)
