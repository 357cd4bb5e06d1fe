"""Reads of any number of rows, by primary key, by expression and in the order of uids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from super_advanced_agents._runtime.clock import ForwardClock
from super_advanced_agents.stores.filters import Filter, matches
from super_advanced_agents.stores.milvus.expressions import ALL, Condition, among, condition_of, every, quote
from super_advanced_agents.stores.milvus.rows import Columns, metadata_of
from super_advanced_agents.stores.milvus.schema import partition_of
from super_advanced_agents.stores.records.record_fields import RECORD_FIELDS, named_fields

if TYPE_CHECKING:
    from super_advanced_agents.stores.milvus.engine.connection import MilvusConnection

_PAGE = 8_192
"""The most rows of one query; Milvus returns 16,384."""
_LARGE_PAGE = 256
"""The most rows of one query that reads texts and vectors: 20 MiB of the largest."""
_DISTINCT = 1_000
_LARGE = frozenset({"text", "metadata", "vector"})
_FILTERED = ["pk", "text", "text_rest", "metadata", "complete", *RECORD_FIELDS.values()]
"""The columns by which a filter is evaluated here."""


class Table:
    """Read the rows of a collection. Its methods block, so only worker threads call them.

    Args:
        connection: the connection to the server.
        partitions: the names of the collection's partitions.
        clock: the clock by which records expire.
    """

    def __init__(self, connection: MilvusConnection, partitions: list[str], clock: ForwardClock) -> None:
        self.connection = connection
        self.clock = clock
        self._partitions = partitions

    def partition(self, tenant: str) -> str:
        """Return the partition that holds a tenant's rows."""
        return partition_of(tenant, self._partitions)

    def live(self, tenant: str, namespace: str | None = None) -> str:
        """Return the expression of a tenant's unexpired rows, in one namespace or in all of them."""
        return every(self.scope(tenant, namespace), f"expires_at > {self.clock.now()!r}")

    def scope(self, tenant: str, namespace: str | None = None) -> str:
        """Return the expression of a tenant's rows, in one namespace or in all.

        Expired rows are included.
        """
        in_namespace = ALL if namespace is None else f"namespace == {quote(namespace)}"
        return every(f"tenant == {quote(tenant)}", in_namespace)

    def count(self, tenant: str | None, expression: str) -> int:
        """Count a tenant's rows that meet an expression; None stands for all tenants."""
        return self.connection.count(tenant, expression, partitions=self._partitions_of(tenant))

    def some(
        self, tenant: str | None, expression: str, columns: Sequence[str], limit: int, *, since: int | None = None
    ) -> list[dict[str, Any]]:
        """Return some of a tenant's rows that meet an expression; None stands for all tenants.

        `since` is that of `MilvusConnection.query`.
        """
        return self.connection.query(
            tenant, expression, columns, partitions=self._partitions_of(tenant), limit=limit, since=since
        )

    def rows(
        self, tenant: str | None, expression: str, columns: Sequence[str], *, since: int | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield all of a tenant's rows that meet an expression, in no order.

        They are read in ranges of primary keys, which are hashes and so spread evenly.
        """
        size = _LARGE_PAGE if _LARGE.intersection(columns) else _PAGE
        page = self.some(tenant, expression, columns, size, since=since)
        if len(page) < size:
            yield from page
            return
        count, digits = self.count(tenant, expression), 0
        while count > size * 16**digits // 2:
            digits += 1
        for number in range(16**digits):
            low = f'pk >= "{number:0{digits}x}"' if digits else ALL
            high = f'pk < "{number + 1:0{digits}x}"' if number + 1 < 16**digits else ALL
            yield from self.some(tenant, every(expression, low, high), columns, 2 * _PAGE)

    def by_key(
        self, tenant: str, keys: Sequence[str], columns: Sequence[str], *, since: int | None = None
    ) -> dict[str, dict[str, Any]]:
        """Return a tenant's rows with these primary keys, expired ones included, by key."""
        found: dict[str, dict[str, Any]] = {}
        size = _LARGE_PAGE if _LARGE.intersection(columns) else _PAGE
        for start in range(0, len(keys), size):
            page = self.some(tenant, among("pk", keys[start : start + size]), columns, size, since=since)
            found.update((row["pk"], row) for row in page)
        return found

    def distinct(self, tenant: str | None, expression: str, column: str) -> set[str]:
        """Return the different values of a column in a tenant's rows that meet an expression.

        Milvus lists none, so each query asks for others than those found. Where they are many, all rows are read.
        """
        values: set[str] = set()
        while len(values) < _DISTINCT:
            unknown = f"not ({among(column, sorted(values))})" if values else ALL
            rows = self.some(tenant, every(expression, unknown), [column], _DISTINCT)
            if not rows:
                return values
            values.update(row[column] for row in rows)
        return values.union(row[column] for row in self.rows(tenant, expression, [column]))

    def _partitions_of(self, tenant: str | None) -> list[str]:
        return [] if tenant is None else [self.partition(tenant)]

    # -- filters --------------------------------------------------------------------------------------------------

    def count_matching(self, tenant: str, namespace: str | None, tree: Filter | None) -> int:
        """Count a tenant's unexpired rows that match a filter."""
        condition, live = condition_of(tree), self.live(tenant, namespace)
        if tree is None:
            return self.count(tenant, live)
        if condition.exact:
            known = self.count(tenant, every(live, condition.most, "complete == true"))
            return known + len(self._verified(tenant, every(live, "complete == false"), tree))
        return len(self._verified(tenant, every(live, condition.candidates), tree))

    def keys_matching(self, tenant: str, expression: str, tree: Filter | None) -> list[str]:
        """Return the primary keys of a tenant's rows that meet an expression and match a filter."""
        condition = condition_of(tree)
        if tree is None:
            return [row["pk"] for row in self.rows(tenant, expression, ["pk"])]
        if condition.exact:
            certain = every(expression, condition.most, "complete == true")
            keys = [row["pk"] for row in self.rows(tenant, certain, ["pk"])]
            return keys + self._verified(tenant, every(expression, "complete == false"), tree)
        return self._verified(tenant, every(expression, condition.candidates), tree)

    def _verified(self, tenant: str, expression: str, tree: Filter) -> list[str]:
        return [row["pk"] for row in self.rows(tenant, expression, _FILTERED) if matches_row(tree, row)]

    # -- the order of uids ----------------------------------------------------------------------------------------

    def uids_after(
        self, tenant: str, namespace: str | None, tree: Filter | None, after: str, limit: int
    ) -> list[tuple[str, str]]:
        """Return uids and primary keys of the first rows after a uid that match a filter.

        The rows of the last uid are all there, even beyond `limit`. Milvus sorts nothing, so an upper bound is
        narrowed until the rows below it are few: rows come by primary key, a hash, so that any of them are a sample of
        the uids.
        """
        condition = condition_of(tree)
        found: list[tuple[str, str]] = []
        while len(found) < limit:
            expression = every(self.live(tenant, namespace), condition.candidates, f"uid > {quote(after)}")
            last = self._last_uid(tenant, expression, limit - len(found))
            below = ALL if last is None else f"uid <= {quote(last)}"
            columns = ["pk", "uid"] if tree is None else _FILTERED
            rows = self.rows(tenant, every(expression, below), columns)
            page = sorted((row["uid"], row["pk"]) for row in rows if tree is None or _is_match(condition, tree, row))
            found += page
            if last is None:
                break
            after = last
        end = found[limit - 1][0] if len(found) >= limit else ""
        return found[:limit] + [each for each in found[limit:] if each[0] == end]

    def _last_uid(self, tenant: str, expression: str, limit: int) -> str | None:
        # At least `limit` rows have this uid or a lower one, and few have a lower one; None if all rows are few.
        last: str | None = None
        while True:
            below = ALL if last is None else f"uid <= {quote(last)}"
            sample = self.some(tenant, every(expression, below), ["uid"], _PAGE)
            if len(sample) < _PAGE:
                return last
            lower: str = sorted(row["uid"] for row in sample)[limit - 1]
            if lower == last:  # one uid in very many namespaces
                return last
            last = lower


def matches_row(tree: Filter, row: Columns) -> bool:
    """Return whether a stored row matches a filter; it has the columns that a filter can name."""
    own = named_fields(row[name] if name.endswith("_at") else row[name] or None for name in RECORD_FIELDS.values())
    return matches(tree, {**metadata_of(row), **own})


def _is_match(condition: Condition, tree: Filter, row: Columns) -> bool:
    return (condition.exact and row["complete"]) or matches_row(tree, row)


def verifier(tree: Filter | None) -> Callable[[Columns], bool]:
    """Return a function that tells whether a candidate row of a filter matches it."""
    if tree is None:
        return lambda row: True
    condition = condition_of(tree)
    return lambda row: _is_match(condition, tree, row)
