"""Changes of a tenant's rows that are stored together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence, Set
from itertools import pairwise

from super_advanced_agents.stores.milvus.expressions import ALL, among, every, quote
from super_advanced_agents.stores.milvus.rows import ROW_COLUMNS, Row, Stored, columns_of, row_of
from super_advanced_agents.stores.milvus.table import Table
from super_advanced_agents.stores.milvus.writing.recent_writes import RecentWrites
from super_advanced_agents.stores.records.scope import Scope

_MAX_CALL_BYTES = 40 * 1024 * 1024
"""The bytes of one call; Milvus accepts 64 MiB. A batch of 1,000 records takes 3 MiB, of the largest 90 MiB."""
_KEYS_PER_DELETION = 1_000
_SESSIONS_PER_QUERY = 200
_MANY_KEYS = 256
"""Most of a larger number of keys are new, so it is asked first which exist."""


class Transaction:
    """Collect the changes of one tenant's rows, and store them. Only the writer thread uses it.

    Reads see the changes. `flush` stores what is to be stored in one call, and so all of it or nothing, unless it is
    larger than Milvus takes at once; deletions are another call after it.

    Args:
        table: the rows.
        tenant: the tenant.
        recent: what this client wrote a moment ago.

    Attributes:
        models: the embedding model that each namespace was checked to have, or will have with the changes.
    """

    def __init__(self, table: Table, tenant: str, recent: RecentWrites) -> None:
        self.tenant = tenant
        self._table = table
        self._recent = recent
        self._rows: dict[str, Row | None] = {}
        self._changed: dict[str, None] = {}
        self._deleted: dict[str, None] = {}
        self._sessions: dict[tuple[str, str], _Session] = {}
        self.models: dict[Scope, str] = {}

    # -- reading --------------------------------------------------------------------------------------------------

    def load(self, keys: Iterable[str]) -> None:
        """Read the rows with these primary keys, unless they are known."""
        wanted = [key for key in dict.fromkeys(keys) if key not in self._rows]
        self._rows.update(dict.fromkeys(wanted))
        since = self._recent.since(self.tenant, wanted)
        if len(wanted) > _MANY_KEYS:
            wanted = list(self._table.by_key(self.tenant, wanted, ["pk"], since=since))
        found = self._table.by_key(self.tenant, wanted, ROW_COLUMNS, since=since)
        self._rows.update((key, row_of(columns)) for key, columns in found.items())

    def load_sessions(self, sessions: Iterable[tuple[str, str]]) -> None:
        """Read the turns of these sessions, each a namespace and a name, unless they are known."""
        by_namespace: defaultdict[str, list[str]] = defaultdict(list)
        for namespace, name in dict.fromkeys(sessions):
            if (namespace, name) not in self._sessions:
                by_namespace[namespace].append(name)
        for namespace, names in by_namespace.items():
            for start in range(0, len(names), _SESSIONS_PER_QUERY):
                self._load_sessions(namespace, names[start : start + _SESSIONS_PER_QUERY])

    def _load_sessions(self, namespace: str, names: Sequence[str]) -> None:
        members = every(self._table.scope(self.tenant, namespace), among("session", names))
        since = self._recent.since(self.tenant, [(namespace, name) for name in names])
        places: dict[str, dict[str, tuple[int, int]]] = {name: {} for name in names}
        for row in self._table.rows(self.tenant, members, ["pk", "place", "seq", "session"], since=since):
            # The table still has the old state of turns that this transaction changed before it read the session.
            if row["pk"] not in self._deleted:
                places[row["session"]][row["pk"]] = (row["place"], row["seq"])
        self._sessions.update(((namespace, name), _Session(places[name])) for name in names)

    def assume_new(self, keys: Iterable[str]) -> None:
        """Mark primary keys as new, so that no rows are looked up for them."""
        for key in keys:
            self._rows.setdefault(key, None)

    def get(self, key: str) -> Row | None:
        """Return the unexpired row with a primary key that was loaded, or None."""
        row = self._rows[key]
        return None if row is None or _expired(row, self._table.clock.now()) else row

    def other_model(self, scope: Scope, model_id: str, *, but_for: Set[str]) -> str | None:
        """Return another embedding model that vectors of a namespace have, or None.

        The rows with the primary keys `but_for` do not count.
        """
        for row in self._changed_rows(scope, but_for):
            if row.model_id not in (None, model_id):
                return row.model_id
        ignored = {*but_for, *self._changed, *self._deleted}
        others = f"not (model_id in [{quote('')},{quote(model_id)}])"
        unless = f"not ({among('pk', sorted(ignored))})" if ignored else ALL
        rows = self._table.some(self.tenant, every(self._table.live(*scope), others, unless), ["model_id"], 1)
        return rows[0]["model_id"] if rows else None

    def uids_by_digest(self, scope: Scope, digests: Collection[str], *, but_for: Set[str]) -> dict[str, str]:
        """Map each digest to the uid of the oldest unexpired row of a namespace that has it."""
        wanted = every(self._table.live(*scope), among("digest", sorted(digests)))
        unread = self._changed.keys() | self._deleted.keys() | but_for
        stored = self._table.rows(self.tenant, wanted, ["pk", "digest", "seq", "uid"])
        found = [(row["seq"], row["digest"], row["uid"]) for row in stored if row["pk"] not in unread]
        found += [(row.seq, row.content.digest, row.uid) for row in self._changed_rows(scope, but_for)]
        uids: dict[str, str] = {}
        for _, digest, uid in sorted(found):
            uids.setdefault(digest, uid)
        return uids

    def _changed_rows(self, scope: Scope, but_for: Set[str]) -> Iterator[Row]:
        now = self._table.clock.now()
        for key in self._changed.keys() - but_for:
            row = self._rows[key]
            if row is not None and row.scope == scope and not _expired(row, now):
                yield row

    # -- changing -------------------------------------------------------------------------------------------------

    def put(self, row: Row) -> None:
        """Store or replace a row, whose key was loaded. A turn without a place goes to the end of its session.

        A turn that replaces one of the same session keeps its place.
        """
        key, old = row.pk, self._rows[row.pk]
        if old is not None and old.session is not None and old.session != row.session:
            self._session(old.scope.namespace, old.session).remove(key)
        if row.session is None:
            row.place = None
        else:
            session = self._session(row.scope.namespace, row.session)
            if row.place is None:
                row.place = session.places[key][0] if key in session.places else session.next_place(row.seq)
            session.set(key, row.place, row.seq)
        self._rows[key] = row
        self._changed[key] = None
        self._deleted.pop(key, None)

    def remove(self, keys: Iterable[str]) -> int:
        """Delete the rows with these primary keys; return their number.

        They exist in the table, and this transaction has not changed them.
        """
        rows = self._table.by_key(self.tenant, list(keys), ["pk", "namespace", "session"])
        for key, row in rows.items():
            if row["session"]:
                self._session(row["namespace"], row["session"]).remove(key)
            self._rows[key] = None
            self._changed.pop(key, None)
            self._deleted[key] = None
        return len(rows)

    def _session(self, namespace: str, name: str) -> _Session:
        self.load_sessions([(namespace, name)])
        return self._sessions[namespace, name]

    # -- storing --------------------------------------------------------------------------------------------------

    def flush(self, *, only: str = ALL) -> None:
        """Store all changes, and delete the rows to delete that still meet the expression `only`."""
        windows = self._windows()
        stored = [
            Stored(row, row.window(*windows.get(pk, (None, None))))
            for pk in self._changed
            if (row := self._rows[pk]) is not None
        ]
        connection, partition, deleted = self._table.connection, self._table.partition(self.tenant), list(self._deleted)
        self._recent.note(self.tenant, [*self._changed, *deleted, *self._sessions], connection.last_write(self.tenant))
        for part in _parts(stored):
            connection.upsert(self.tenant, columns_of(part), partition=partition)
        for start in range(0, len(deleted), _KEYS_PER_DELETION):
            chosen = among("pk", deleted[start : start + _KEYS_PER_DELETION])
            connection.delete(self.tenant, every(chosen, only), partition=partition)
        self._changed.clear()
        self._deleted.clear()
        self._sessions.clear()

    def _windows(self) -> dict[str, tuple[Row | None, Row | None]]:
        # The turns before and after each turn that is to be stored. Neighbours of changed turns are, too.
        neighbours: dict[str, tuple[str | None, str | None]] = {}
        for session in self._sessions.values():
            order = session.order()
            around = dict(zip(order, zip([None, *order], [*order[1:], None], strict=False), strict=False))
            affected = session.affected(order)
            neighbours.update((key, around[key]) for key in affected)
        self.load([*neighbours, *(key for pair in neighbours.values() for key in pair if key is not None)])
        windows = {}
        for key, pair in neighbours.items():
            row = self._rows[key]
            if row is None:  # deleted by another client meanwhile
                continue
            before, after = (None if other is None else self._rows[other] for other in pair)
            row.before, row.after = ("" if other is None else other.pk for other in (before, after))
            windows[key] = (before, after)
            self._changed[key] = None
        return windows


class _Session:
    # The turns of a conversation, by place; of equal places the one that was written first.

    def __init__(self, places: dict[str, tuple[int, int]]) -> None:
        self.places = places
        self._before = sorted(places, key=places.__getitem__)
        self._touched: set[str] = set()

    def set(self, key: str, place: int, seq: int) -> None:
        self.places[key] = (place, seq)
        self._touched.add(key)

    def remove(self, key: str) -> None:
        self.places.pop(key, None)
        self._touched.add(key)

    def next_place(self, least: int) -> int:
        return max([least, *(place + 1 for place, _ in self.places.values())])

    def order(self) -> list[str]:
        return sorted(self.places, key=self.places.__getitem__)

    def affected(self, order: list[str]) -> list[str]:
        # The turns that were changed, and their neighbours before and after the change.
        beside = {
            key for pair in (*pairwise(order), *pairwise(self._before)) if self._touched & {*pair} for key in pair
        }
        # A turn between two that were not touched has new neighbours if one between them was removed.
        return [key for key in order if key in beside or key in self._touched]


def _expired(row: Row, now: float) -> bool:
    return row.expires_at is not None and row.expires_at <= now


def _parts(rows: Sequence[Stored]) -> Iterator[list[Stored]]:
    part: list[Stored] = []
    size = 0
    for row in rows:
        row_bytes = row.size_bytes
        if part and size + row_bytes > _MAX_CALL_BYTES:
            yield part
            part, size = [], 0
        part.append(row)
        size += row_bytes
    if part:
        yield part
