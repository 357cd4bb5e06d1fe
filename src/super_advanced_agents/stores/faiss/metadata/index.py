"""Metadata turned inside out: for each field and value the rows that have it, so that a filter is set operations.

They are built when a filter first asks, and catch up with new rows each time one does: who never filters pays nothing.
Rows never change once numbered, so what is worked out of known rows stays right whatever is added meanwhile. Many
threads evaluate filters at once: the lock is held for one short step at a time, and never while rows are read.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from pyroaring import BitMap

from super_advanced_agents._runtime.gil import yield_gil
from super_advanced_agents.stores.faiss.metadata.columns import MetadataColumn, Term
from super_advanced_agents.stores.filters import And, Filter, Not, Or, matches
from super_advanced_agents.types import JSONValue, Metadata

_PAGE = 256
"""Rows read at a time."""
_FAR_BEHIND = 2_048
"""Taking up so many rows takes longer than others should wait for."""
_SPARE_ROWS = 1_024
"""Dead rows beyond this, and beyond the number of live ones, are dropped."""

FetchMetadata = Callable[[Sequence[int]], Mapping[int, Metadata]]


class _StaleViewError(Exception):
    """A row of the view was deleted before its metadata was read; only ever caught in the engine, which looks again."""


@dataclass(slots=True)
class _Progress:
    """How far a filter has been evaluated: of `seen` rows exactly the `matching` ones match."""

    seen: BitMap = field(default_factory=BitMap)
    matching: BitMap = field(default_factory=BitMap)
    users: int = 0


class MetadataIndex:
    """The metadata indexes of one store, for any thread."""

    def __init__(
        self, metadata_between: Callable[[int, int], Iterator[tuple[int, Metadata]]], fetch: FetchMetadata
    ) -> None:
        self._metadata_between = metadata_between
        self._fetch = fetch
        self._fields: dict[str, MetadataColumn] = {}
        self._indexed = 0
        self._known = BitMap()
        self._progress: dict[Filter, _Progress] = {}
        self._lock = threading.Lock()
        self._following = threading.Lock()
        self._dropping = threading.Lock()

    def is_slow(self, tree: Filter, live: BitMap, last_row: int) -> bool:
        """Whether `evaluate` may take longer than others should wait for; told at once."""
        behind = last_row - self._indexed > _FAR_BEHIND
        return behind or self._are_many_dead(live) or any(self._is_slow(term) for term in _terms(tree))

    @contextmanager
    def progress_kept(self, tree: Filter) -> Iterator[None]:
        """Inside, evaluating this filter again looks only at rows that were not looked at before."""
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
        """Which of `rows` match; `last_row` is the newest row that may be among them.

        Raises:
            _StaleViewError: some of `rows` have gone since, and what they held is not known.
        """
        self._catch_up(last_row)
        self._check_known(rows)
        progress = self._progress.get(tree) or _Progress()
        fresh = rows - progress.seen if progress.seen else rows
        certain, possible = self._bounds(tree, fresh)
        self._check_known(rows)  # else some were dropped on the way
        unread = possible - certain
        progress.matching |= certain
        progress.seen |= fresh - unread
        self._read(tree, unread, progress)
        return rows & progress.matching

    def drop_dead(self, live: BitMap, last_row: int) -> None:
        """Forget rows up to `last_row` that are not `live`, if they are many and nobody else is at it."""
        if not self._are_many_dead(live) or not self._dropping.acquire(blocking=False):
            return
        try:
            with self._lock:
                dead = self._known - live
                dead.remove_range(last_row + 1, 2**32)
                self._known -= dead  # first, so that whoever wanted one of them looks again
                fields = list(self._fields.items())
            for key, kept in fields:
                kept.drop(dead)
                with self._lock:
                    if not kept.present:
                        del self._fields[key]
        finally:
            self._dropping.release()

    def _are_many_dead(self, live: BitMap) -> bool:
        return len(self._known) > 2 * len(live) + _SPARE_ROWS

    def _is_slow(self, term: Term) -> bool:
        kept = self._fields.get(term.key)
        return _is_text(term) or (kept is not None and kept.is_slow(term))

    def _check_known(self, rows: BitMap) -> None:
        with self._lock:
            if not rows.issubset(self._known):
                raise _StaleViewError

    def _catch_up(self, last_row: int) -> None:
        if self._indexed >= last_row:
            return
        with self._following:
            page = []
            for row, metadata in yield_gil(self._metadata_between(self._indexed, last_row)):
                page.append((row, list(_flat(metadata))))
                if len(page) == _PAGE:
                    self._add(page)  # an interruption half-way leaves the rest for the next call
                    page = []
            self._add(page)
            self._indexed = max(self._indexed, last_row)

    def _add(self, page: list[tuple[int, list[tuple[str, JSONValue]]]]) -> None:
        with self._lock:
            for row, fields in page:
                self._known.add(row)
                for key, value in fields:
                    if key not in self._fields:
                        self._fields[key] = MetadataColumn(self._lock)
                    self._fields[key].add(value, row)
                self._indexed = row

    def _bounds(self, tree: Filter, rows: BitMap) -> tuple[BitMap, BitMap]:
        """Those of `rows` that certainly match, and those that may: what is not kept in memory decides."""
        match tree:
            case And(operands):
                certain = possible = rows
                for operand in operands:
                    if not possible:
                        break
                    surely, maybe = self._bounds(operand, possible)
                    certain, possible = certain & surely, maybe
                return certain, possible
            case Or(operands):
                bounds = [self._bounds(operand, rows) for operand in operands]
                return BitMap.union(*(surely for surely, _ in bounds)), BitMap.union(*(maybe for _, maybe in bounds))
            case Not(operand):
                surely, maybe = self._bounds(operand, rows)
                return rows - maybe, rows - surely
            case _:
                return self._bounds_of_term(tree, rows)

    def _bounds_of_term(self, term: Term, rows: BitMap) -> tuple[BitMap, BitMap]:
        if _is_text(term):
            return BitMap(), rows  # texts are not kept in memory
        kept = self._fields.get(term.key)
        if kept is None:
            return BitMap(), BitMap()
        found, unread = kept.matching(term) & rows, kept.left_open(term)
        return found, found | (unread & rows) if unread else found

    def _read(self, tree: Filter, rows: BitMap, progress: _Progress) -> None:
        """The slow way, for what is not kept in memory: look at the rows themselves."""
        gone = False
        waiting = rows.to_array()
        for start in range(0, len(waiting), _PAGE):
            wanted = waiting[start : start + _PAGE].tolist()
            page = self._fetch(wanted)
            read = yield_gil(page.items(), every=_PAGE)
            progress.matching |= BitMap([row for row, metadata in read if matches(tree, metadata)])
            progress.seen |= BitMap(list(page))
            gone = gone or len(page) < len(wanted)
        if gone:  # told at the end, so that the next look has only the new rows to read
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


def _flat(metadata: Metadata) -> Iterable[tuple[str, JSONValue]]:
    """Every field a filter can name: the keys, and dotted paths into objects unless a key has that very name."""
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
