"""The table of records in SQLite, the source of truth of a store."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import repeat
from pathlib import Path
from typing import NamedTuple, TypeVar

from super_advanced_agents._runtime.clock import ForwardClock
from super_advanced_agents._runtime.disk import sqlite, sqlite_errors
from super_advanced_agents.errors import CorruptStoreError
from super_advanced_agents.stores.faiss.rows import duplicates, schema
from super_advanced_agents.stores.faiss.rows.batch import Change, RowBatch
from super_advanced_agents.stores.faiss.rows.insert import (
    AS_CREATED_AT,
    AS_SEQ,
    Column,
    insert_statement,
    none_if_empty,
)
from super_advanced_agents.stores.faiss.rows.reader import RECORDS, RowReader, as_record, json_list
from super_advanced_agents.stores.faiss.rows.transactional_dict import TransactionalDict
from super_advanced_agents.stores.faiss.rows.write_ahead_log import WriteAheadLog
from super_advanced_agents.stores.faiss.rows.write_ids import WriteIds
from super_advanced_agents.stores.records.scope import Scope
from super_advanced_agents.stores.validation import model_mismatch
from super_advanced_agents.types import Record

_SELECT_MODEL_IN_USE = """
    SELECT model_id FROM records JOIN models ON models.id = model
    WHERE scope = ? AND model = ? AND (expires_at IS NULL OR expires_at > ?)
        AND uid NOT IN (SELECT value FROM json_each(?)) LIMIT 1"""

Value = TypeVar("Value")


class _Replaced(NamedTuple):
    """Hold the columns of a replaced row that are needed to write the new row."""

    seq: int
    uid: str
    created_at: float
    expires_at: float | None
    session: str | None
    place: int


class RecordTable(RowReader):
    """Read and write a store's records in SQLite; one thread writes, many threads may read."""

    def __init__(self, folder: Path | None, settings: dict[str, str]) -> None:
        super().__init__(folder)
        try:
            schema.prepare(self._writer, self._file, settings)
            self.write_ids = WriteIds(self._writer)
            stored = dict(self._read("SELECT name, value FROM settings"))
            self.identity: str = stored["identity"]
            scopes = list(self._read("SELECT id, tenant, namespace, digests, model FROM scopes"))
            models = list(self._read("SELECT id, model_id FROM models"))
            self._scope_ids: TransactionalDict[Scope, int] = TransactionalDict(
                {Scope(tenant, name): id_ for id_, tenant, name, *_ in scopes}
            )
            self._tenants: dict[int, str] = {id_: tenant for id_, tenant, *_ in scopes}
            self._scope_models: TransactionalDict[int, int] = TransactionalDict(
                {id_: model for id_, *_, model in scopes if model is not None}
            )
            self._has_digests: TransactionalDict[int, bool] = TransactionalDict(
                {id_: bool(digests) for id_, _, _, digests, _ in scopes}
            )
            self._model_ids: TransactionalDict[str, int] = TransactionalDict({name: id_ for id_, name in models})
            self._next_seq = 1 + next(self._read("SELECT coalesce(max(seq), 0) FROM sqlite_sequence"), (0,))[0]
            # A new row's place is its number plus this offset: more than 0 once records came from another store.
            self._place_offset = int(stored.get("place_offset", 0))
            self.clock_saved_at = float(stored.get(schema.CLOCK_SETTING, 0.0))
            self.clock = ForwardClock(self.clock_saved_at)
            if self._file is not None:
                self.log = WriteAheadLog(self._file, self._writer)
        except BaseException as exc:
            self.close()
            if isinstance(exc, sqlite3.Error):
                raise sqlite_errors.map_error(exc, self._file) from exc
            raise

    @property
    def last_seq(self) -> int:
        """The highest row number that was ever assigned."""
        return self._next_seq - 1

    @property
    def tenants(self) -> int:
        """The number of tenants that have ever written to the store, at least 1."""
        return max(1, len({scope.tenant for scope, _ in self._scope_ids.items()}))

    def scope_id(self, scope: Scope) -> int | None:
        """Return the number of a tenant's namespace; None if it was never written to."""
        return self._scope_ids.get(scope)

    def tenant_of(self, scope_id: int) -> str:
        """Return the tenant that the namespace with this number belongs to."""
        if scope_id not in self._tenants:
            raise CorruptStoreError("a record's namespace is damaged", hint="restore a backup; `saa doctor` tells more")
        return self._tenants[scope_id]

    def may_have_other_model(self, scope: Scope | None, model_id: str | None) -> bool:
        """Return True if a namespace may have vectors of another embedding model than `model_id`.

        The check costs two dictionary look-ups and reads no rows, so True does not mean that such a vector is left:
        `check_query_model` finds out.
        """
        if scope is None or model_id is None:
            return False
        number = self._scope_ids.get(scope)
        model = None if number is None else self._scope_models.get(number)
        return model is not None and model != self._model_ids.get(model_id)

    def check_query_model(self, scope: Scope, model_id: str, now: float) -> None:
        """Raise if a namespace has unexpired vectors of another embedding model than the query's.

        Raises:
            ModelMismatchError: it has; the message names both models.
        """
        number = self._scope_ids.get(scope)
        model = None if number is None else self._scope_models.get(number)
        for (stored,) in list(self._read(_SELECT_MODEL_IN_USE, (number, model, now, "[]"))):
            if stored != model_id:
                raise model_mismatch(scope.namespace, stored, model_id)

    def models(self) -> dict[str, int]:
        """Map each embedding model to the number of namespaces whose vectors it made."""
        scope_models = [number for _, number in self._scope_models.items()]
        model_ids = {number: model_id for model_id, number in self._model_ids.items()}
        return dict(Counter(model_ids[number] for number in scope_models))

    # -- writing, by the one writer thread ------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Enter a context whose writes are committed in one transaction, or all rolled back.

        The writes are durable when the context is left without an error.
        """
        # In this order, so that a reader who finds the number of a scope or a model also finds what belongs to it.
        dicts = (self._model_ids, self._scope_models, self._scope_ids, self._has_digests)
        with self._memory_lock if self._file is None else nullcontext():
            numbers = self._next_seq, self._place_offset
            try:
                with sqlite.transaction(self._writer, None if self.log is None else self.log.watch):
                    yield
                for transactional_dict in dicts:
                    transactional_dict.commit()
            except BaseException:
                self._next_seq, self._place_offset = numbers
                for transactional_dict in dicts:
                    transactional_dict.roll_back()
                raise
            if self.log is not None:
                self.log.truncate_if_due()

    def check_files(self) -> None:
        """Raise if a file of the database was removed, replaced, emptied or cut by others.

        Any thread may call it.

        Raises:
            StoreError: one was; nothing more can be written.
        """
        if self.log is not None:
            self.log.watch.check()

    def check_model(self, batch: RowBatch) -> None:
        """Raise if a batch has another embedding model than the unexpired records in its namespace.

        Records that the batch replaces do not count.

        Raises:
            ModelMismatchError: the models differ; the message names both, and nothing was written.
        """
        scope = self._scope_ids.latest(batch.scope)
        if batch.model_id is None or batch.same_vectors or scope is None:
            return
        model = self._scope_models.latest(scope)
        if model is None or model == self._model_ids.latest(batch.model_id):
            return
        parameters = (scope, model, self.clock.now(), json_list(batch.uids))
        in_use = self._writer.execute(_SELECT_MODEL_IN_USE, parameters).fetchone()
        if in_use is not None:
            raise model_mismatch(batch.scope.namespace, in_use[0], batch.model_id)

    def without_duplicates(self, batch: RowBatch) -> tuple[RowBatch, list[str]]:
        """Return a batch without the records whose content is stored already.

        A record whose uid exists already is never left out: it replaces the record of that uid.

        Args:
            batch: a batch with digests.

        Returns:
            The records to store, and for each record of `batch` its uid or that of the record with the same content.
        """
        assert batch.digests is not None
        scope = self._scope_id(batch.scope, None)
        if not self._has_digests.latest(scope):
            duplicates.store_digests(self._writer, scope)
            self._writer.execute("UPDATE scopes SET digests = 1 WHERE id = ?", (scope,))
            self._has_digests.set(scope, True)
        digests = dict(zip(batch.uids, batch.digests, strict=True))  # of equal uids the last wins
        existing = [] if batch.known_new else self._find_by_uid(digests, scope)
        now = self.clock.now()
        replacing = {old.uid for old in existing if old.expires_at is None or old.expires_at > now}
        uid_of_digest = {digests[uid]: uid for uid in digests if uid in replacing}
        uid_of_digest |= duplicates.find_by_digest(self._writer, scope, batch.digests, now, but_for=replacing)
        original_uid: dict[str, str] = {}
        for uid, digest in digests.items():
            if uid not in replacing and uid_of_digest.setdefault(digest, uid) != uid:
                original_uid[uid] = uid_of_digest[digest]
        unique = duplicates.without_uids(batch, original_uid) if original_uid else batch
        return unique, [original_uid.get(uid, uid) for uid in batch.uids]

    def add(self, batch: RowBatch, change: Change) -> Sequence[int]:
        """Insert or replace the records of a batch; list added and removed rows in `change`.

        Returns:
            The positions in the batch of the inserted records, in row order. A record is left out when its uid comes
            again later in the batch.
        """
        model = None if batch.model_id is None else self._model_id(batch.model_id)
        scope = self._scope_id(batch.scope, None if batch.same_vectors else model)
        selected: Sequence[int] = range(len(batch.uids))
        replaced: Sequence[_Replaced | None] = ()
        if not batch.known_new:
            last = {uid: i for i, uid in enumerate(batch.uids)}  # of equal uids in one batch the last wins
            selected = selected if len(last) == len(selected) else list(last.values())
            by_uid = self._remove_by_uid(scope, batch.uids, change)
            replaced = [by_uid.get(batch.uids[i]) for i in selected] if by_uid else ()
        seqs = range(self._next_seq, self._next_seq + len(selected))
        self._next_seq = seqs.stop
        columns = self._columns(batch, selected, seqs, scope=scope, model=model, replaced=replaced)
        self._writer.executemany(*insert_statement(columns))
        vectors = batch.vectors if len(selected) == len(batch.vectors) else batch.vectors[selected]
        self._writer.executemany("INSERT INTO vectors VALUES (?, ?)", zip(seqs, vectors, strict=True))
        change.added.extend(seqs)
        change.scopes.extend(repeat(scope, len(seqs)))
        change.expires_at.extend(_select(batch.expires_at, selected))
        change.sessions.extend(_select(batch.sessions, selected))
        change.replaces.extend([None if old is None else old.seq for old in replaced] or repeat(None, len(seqs)))
        if batch.stored_fields is not None:
            places = zip(seqs, _select(batch.stored_fields.places, selected), strict=True)
            change.explicit_places.update({seq: place for seq, place in places if place is not None})
        return selected

    def _columns(
        self,
        batch: RowBatch,
        selected: Sequence[int],
        seqs: range,
        *,
        scope: int,
        model: int | None,
        replaced: Sequence[_Replaced | None],
    ) -> list[Column]:
        documents, stored = _select(batch.documents, selected), batch.stored_fields
        created_at: Column = repeat(batch.now)
        updated_at: Column = AS_CREATED_AT
        models: Column = None if model is None else repeat(model)
        if stored is not None:
            created_at, updated_at = _select(stored.created_at, selected), _select(stored.updated_at, selected)
            models = [model if has_model else None for has_model in _select(stored.has_model, selected)]
        elif replaced:
            created_at = [batch.now if old is None else old.created_at for old in replaced]
            updated_at = repeat(batch.now)
        digests: Column = None
        if self._has_digests.latest(scope):
            digests = _select(batch.digests or duplicates.digests_of(batch), selected)
        sessions = _select(batch.sessions, selected)
        explicit_places = None if stored is None else _select(stored.places, selected)
        return [
            seqs,
            repeat(scope),
            _select(batch.uids, selected),
            [document.text for document in documents],
            [document.json.decode() for document in documents],
            models,
            none_if_empty(_select(batch.sources, selected)),
            created_at,
            updated_at,
            none_if_empty(_select(batch.expires_at, selected)),
            none_if_empty(sessions),
            self._new_places(seqs, sessions, replaced, explicit_places) or AS_SEQ,
            none_if_empty(_select(batch.priorities, selected)),
            digests,
        ]

    def _new_places(
        self,
        seqs: range,
        sessions: Sequence[str | None],
        replaced: Sequence[_Replaced | None],
        explicit: Sequence[int | None] | None,
    ) -> list[int] | None:
        # A turn's place is the given one, else that of the replaced turn, else the end of the session. None: all places
        # equal the row numbers.
        if explicit is not None:
            self._raise_place_offset(max((place for place in explicit if place is not None), default=-1), seqs.start)
        elif not self._place_offset and not any(replaced):
            return None
        places = [
            seq + self._place_offset if old is None or old.session != session else old.place
            for seq, session, old in zip(seqs, sessions, replaced or repeat(None), strict=False)
        ]
        if explicit is None:
            return places
        return [default if place is None else place for default, place in zip(places, explicit, strict=True)]

    def _raise_place_offset(self, last_place: int, next_seq: int) -> None:
        # Another store assigned `last_place`; new rows must get places after it.
        if last_place < next_seq + self._place_offset:
            return
        self._place_offset = last_place + 1 - next_seq
        self.set_setting("place_offset", str(self._place_offset))

    def set_setting(self, name: str, value: str) -> None:
        """Write a value to the store's `settings` table; requires an open transaction."""
        self._writer.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))

    def save_clock(self, seen: float) -> None:
        """Store the highest time seen, in the open transaction, so that expired records stay so."""
        self.set_setting(schema.CLOCK_SETTING, repr(seen))

    def record(self, uid: str, scope: Scope, now: float) -> Record | None:
        """Return the record with a uid as the open transaction sees it; None if missing or expired."""
        number = self._scope_ids.latest(scope)
        query = RECORDS + "uid = ? AND scope = ? AND (expires_at IS NULL OR expires_at > ?)"
        row = None if number is None else self._writer.execute(query, (uid, number, now)).fetchone()
        return None if row is None else as_record(row)

    def find_seqs(self, uids: Iterable[str], scope: Scope | None) -> list[int]:
        """Return the row numbers of the records with these uids, expired ones included.

        Rows written in the open transaction are among them.
        """
        if scope is None:
            return [row.seq for row in self._find_by_uid(uids, None)]
        number = self._scope_ids.latest(scope)
        return [] if number is None else [row.seq for row in self._find_by_uid(uids, number)]

    def remove(self, seqs: Sequence[int], change: Change) -> None:
        """Delete rows by number, and list them in `change`; requires an open transaction."""
        if self.log is not None and seqs:
            self.log.note_deletion()
        parameter = json_list(seqs)
        self._writer.execute("DELETE FROM records WHERE seq IN (SELECT value FROM json_each(?))", (parameter,))
        self._writer.execute("DELETE FROM vectors WHERE seq IN (SELECT value FROM json_each(?))", (parameter,))
        change.removed.extend(seqs)

    def _remove_by_uid(self, scope: int, uids: Sequence[str], change: Change) -> dict[str, _Replaced]:
        existing = self._find_by_uid(uids, scope)
        if existing:
            self.remove([row.seq for row in existing], change)
        return {row.uid: row for row in existing}

    def _find_by_uid(self, uids: Iterable[str], scope: int | None) -> list[_Replaced]:
        query = f"SELECT {', '.join(_Replaced._fields)} FROM records WHERE uid IN (SELECT value FROM json_each(?))"  # noqa: S608
        if scope is None:
            return [_Replaced(*row) for row in self._writer.execute(query, (json_list(uids),))]
        return [_Replaced(*row) for row in self._writer.execute(query + " AND scope = ?", (json_list(uids), scope))]

    def _scope_id(self, scope: Scope, model: int | None) -> int:
        number = self._scope_ids.latest(scope)
        if number is None:
            cursor = self._writer.execute(
                "INSERT INTO scopes (tenant, namespace, model) VALUES (?, ?, ?)", (*scope, model)
            )
            number = int(cursor.lastrowid or 0)
            self._scope_ids.set(scope, number)
            self._tenants[number] = scope.tenant
        elif model is None or model == self._scope_models.latest(number):
            return number
        else:
            self._writer.execute("UPDATE scopes SET model = ? WHERE id = ?", (model, number))
        if model is not None:
            self._scope_models.set(number, model)
        return number

    def _model_id(self, model_id: str) -> int:
        number = self._model_ids.latest(model_id)
        if number is None:
            cursor = self._writer.execute("INSERT INTO models (model_id) VALUES (?)", (model_id,))
            number = int(cursor.lastrowid or 0)
            self._model_ids.set(model_id, number)
        return number


def _select(values: Sequence[Value], selected: Sequence[int]) -> Sequence[Value]:
    return values if len(values) == len(selected) else [values[i] for i in selected]
