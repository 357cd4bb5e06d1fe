"""Rows are the truth: every record in one SQLite file, and nothing in it that makes a commit slow."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import repeat
from pathlib import Path
from typing import NamedTuple, TypeVar

from super_advanced_agents._runtime import sqlite
from super_advanced_agents.stores.faiss.rows import duplicates, schema
from super_advanced_agents.stores.faiss.rows.batch import Change, RowBatch, Scope
from super_advanced_agents.stores.faiss.rows.insert import AS_CREATED_AT, AS_SEQ, Column, insert_statement, none_if_empty
from super_advanced_agents.stores.faiss.rows.reader import RECORDS, RowReader, as_record, json_list
from super_advanced_agents.stores.faiss.rows.transactional_dict import TransactionalDict
from super_advanced_agents.stores.validation import model_mismatch
from super_advanced_agents.telemetry import get_logger
from super_advanced_agents.types import Record

_log = get_logger("store")
_LOG_BYTES = 64 * 1024 * 1024

_SELECT_MODEL_IN_USE = """
    SELECT model_id FROM records JOIN models ON models.id = model
    WHERE scope = ? AND model = ? AND (expires_at IS NULL OR expires_at > ?)
        AND uid NOT IN (SELECT value FROM json_each(?)) LIMIT 1"""

Value = TypeVar("Value")


class _Replaced(NamedTuple):
    """What of a row outlives its replacement."""

    seq: int
    uid: str
    created_at: float
    expires_at: float | None
    session: str | None
    place: int


class RecordTable(RowReader):
    """The table of records. One thread writes (`transaction`), any number read."""

    def __init__(self, folder: Path | None, settings: dict[str, str]) -> None:
        super().__init__(folder)
        self._log_bytes = _LOG_BYTES
        try:
            schema.prepare(self._writer, self._file, settings)
            kept = dict(self._read("SELECT name, value FROM settings"))
            self.identity: str = kept["identity"]
            scopes = list(self._read("SELECT id, tenant, namespace, digests, model FROM scopes"))
            models = list(self._read("SELECT id, model_id FROM models"))
            self._scope_ids: TransactionalDict[Scope, int] = TransactionalDict(
                {Scope(tenant, name): id_ for id_, tenant, name, *_ in scopes}
            )
            self._scope_models: TransactionalDict[int, int] = TransactionalDict(
                {id_: model for id_, *_, model in scopes if model is not None}
            )
            self._has_digests: TransactionalDict[int, bool] = TransactionalDict(
                {id_: bool(digests) for id_, _, _, digests, _ in scopes}
            )
            self._model_ids: TransactionalDict[str, int] = TransactionalDict({name: id_ for id_, name in models})
            self._next_seq = 1 + next(self._read("SELECT coalesce(max(seq), 0) FROM sqlite_sequence"), (0,))[0]
            # What is added to a row's number to make its place: more than 0 where places of another store came in.
            self._place_offset = int(kept.get("place_offset", 0))
        except BaseException as exc:
            self.close()
            if isinstance(exc, sqlite3.Error):
                raise sqlite.map_error(exc) from exc
            raise

    @property
    def last_seq(self) -> int:
        """The newest row number ever given."""
        return self._next_seq - 1

    def scope_id(self, scope: Scope) -> int | None:
        """The number of a scope; None when nothing was ever written there."""
        return self._scope_ids.get(scope)

    def may_have_other_model(self, scope: Scope | None, model_id: str | None) -> bool:
        """Whether the vectors of a scope seem to be of another model: two look-ups, which any thread can afford."""
        if scope is None or model_id is None:
            return False
        number = self._scope_ids.get(scope)
        model = None if number is None else self._scope_models.get(number)
        return model is not None and model != self._model_ids.get(model_id)

    def check_query_model(self, scope: Scope, model_id: str, now: float) -> None:
        """Refuse to compare a query of one model with vectors of another, unless none of those is left.

        Raises:
            ModelMismatchError: naming both.
        """
        number = self._scope_ids.get(scope)
        model = None if number is None else self._scope_models.get(number)
        for (stored,) in list(self._read(_SELECT_MODEL_IN_USE, (number, model, now, "[]"))):
            if stored != model_id:
                raise model_mismatch(scope.namespace, stored, model_id)

    def models(self) -> dict[str, int]:
        """Embedding model -> of how many scopes it made the vectors."""
        of_scopes = [number for _, number in self._scope_models.items()]
        names = {number: name for name, number in self._model_ids.items()}
        return dict(Counter(names[number] for number in of_scopes))

    # -- writing, by the one writer thread ------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what is done inside, or nothing of it. After it returns the writes are durable."""
        transactional_dicts = (self._model_ids, self._scope_models, self._scope_ids, self._has_digests)  # names before what has them
        with self._memory_lock if self._file is None else nullcontext():
            numbers = self._next_seq, self._place_offset
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._writer.execute("COMMIT")
                for transactional in transactional_dicts:
                    transactional.commit()
            except BaseException:
                self._next_seq, self._place_offset = numbers
                for transactional in transactional_dicts:
                    transactional.roll_back()
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise
            self._truncate_log()

    def _truncate_log(self) -> None:
        """Fold in a log that could not begin anew because some reader was always in it; else it grows without end."""
        try:
            size = 0 if self._log is None else self._log.stat().st_size
            if size > self._log_bytes:
                [busy, *_] = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                self._log_bytes = 2 * size if busy else _LOG_BYTES
        except (OSError, sqlite3.Error) as exc:  # the rows are committed all the same
            _log.warning("store.checkpoint_failed", extra={"reason": str(exc)[:200]})

    def check_model(self, batch: RowBatch) -> None:
        """Refuse vectors of another model than the scope's, unless no record of that one would be left.

        Raises:
            ModelMismatchError: naming both; nothing was written.
        """
        scope = self._scope_ids.latest(batch.scope)
        if batch.model_id is None or batch.same_vectors or scope is None:
            return
        model = self._scope_models.latest(scope)
        if model is None or model == self._model_ids.latest(batch.model_id):
            return
        parameters = (scope, model, batch.now, json_list(batch.uids))
        found = self._writer.execute(_SELECT_MODEL_IN_USE, parameters).fetchone()
        if found is not None:
            raise model_mismatch(batch.scope.namespace, found[0], batch.model_id)

    def without_duplicates(self, batch: RowBatch) -> tuple[RowBatch, list[str]]:
        """What of an addition with digests is to be stored, and under which uid each of its records is found.

        A record whose name is there already replaces it, whatever else has its content.
        """
        assert batch.digests is not None
        scope = self._scope_id(batch.scope, None)
        if not self._has_digests.latest(scope):
            duplicates.store_digests(self._writer, scope)
            self._writer.execute("UPDATE scopes SET digests = 1 WHERE id = ?", (scope,))
            self._has_digests.set(scope, True)
        digests = dict(zip(batch.uids, batch.digests, strict=True))  # of equal names the last wins
        found = [] if batch.known_new else self._find_by_uid(digests, scope)
        replacing = {old.uid for old in found if old.expires_at is None or old.expires_at > batch.now}
        holders = {digests[uid]: uid for uid in digests if uid in replacing}
        holders |= duplicates.find_by_digest(self._writer, scope, batch.digests, batch.now, but_for=replacing)
        held: dict[str, str] = {}
        for uid, digest in digests.items():
            if uid not in replacing and holders.setdefault(digest, uid) != uid:
                held[uid] = holders[digest]
        stored = duplicates.without_uids(batch, held) if held else batch
        return stored, [held.get(uid, uid) for uid in batch.uids]

    def add(self, batch: RowBatch, change: Change) -> Sequence[int]:
        """Insert or replace records, and append what happened to `change`.

        Returns:
            The positions of the batch's records that were inserted, in the order of their rows: all but those whose uid
            comes again later in the batch.
        """
        model = None if batch.model_id is None else self._model_id(batch.model_id)
        scope = self._scope_id(batch.scope, None if batch.same_vectors else model)
        kept: Sequence[int] = range(len(batch.uids))
        replaced: Sequence[_Replaced | None] = ()
        if not batch.known_new:
            last = {uid: i for i, uid in enumerate(batch.uids)}  # of equal uids in one batch the last wins
            kept = kept if len(last) == len(kept) else list(last.values())
            by_uid = self._remove_by_uid(scope, batch.uids, change)
            replaced = [by_uid.get(batch.uids[i]) for i in kept] if by_uid else ()
        seqs = range(self._next_seq, self._next_seq + len(kept))
        self._next_seq = seqs.stop
        columns = self._columns(batch, kept, seqs, scope=scope, model=model, replaced=replaced)
        self._writer.executemany(*insert_statement(columns))
        vectors = batch.vectors if len(kept) == len(batch.vectors) else batch.vectors[kept]
        self._writer.executemany("INSERT INTO vectors VALUES (?, ?)", zip(seqs, vectors, strict=True))
        change.added.extend(seqs)
        change.scopes.extend(repeat(scope, len(seqs)))
        change.expires_at.extend(_select(batch.expires_at, kept))
        change.sessions.extend(_select(batch.sessions, kept))
        change.replaces.extend([None if old is None else old.seq for old in replaced] or repeat(None, len(seqs)))
        if batch.stored is not None:
            places = _select(batch.stored.places, kept)
            change.explicit_places.update({seq: place for seq, place in zip(seqs, places, strict=True) if place is not None})
        return kept

    def _columns(
        self,
        batch: RowBatch,
        kept: Sequence[int],
        seqs: range,
        *,
        scope: int,
        model: int | None,
        replaced: Sequence[_Replaced | None],
    ) -> list[Column]:
        """Return all columns of the table for the chosen records, in its order."""
        documents, stored = _select(batch.documents, kept), batch.stored
        created_at: Column = repeat(batch.now)
        updated_at: Column = AS_CREATED_AT
        models: Column = None if model is None else repeat(model)
        if stored is not None:
            created_at, updated_at = _select(stored.created_at, kept), _select(stored.updated_at, kept)
            models = [model if has_model else None for has_model in _select(stored.has_model, kept)]
        elif replaced:
            created_at = [batch.now if old is None else old.created_at for old in replaced]
            updated_at = repeat(batch.now)
        digests: Column = None
        if self._has_digests.latest(scope):
            digests = _select(batch.digests or duplicates.digests_of(batch), kept)
        sessions = _select(batch.sessions, kept)
        given = None if stored is None else _select(stored.places, kept)
        return [
            seqs,
            repeat(scope),
            _select(batch.uids, kept),
            [document.text for document in documents],
            [document.json.decode() for document in documents],
            models,
            none_if_empty(_select(batch.sources, kept)),
            created_at,
            updated_at,
            none_if_empty(_select(batch.expires_at, kept)),
            none_if_empty(sessions),
            self._places(seqs, sessions, replaced, given) or AS_SEQ,
            none_if_empty(_select(batch.priorities, kept)),
            digests,
        ]

    def _places(
        self,
        seqs: range,
        sessions: Sequence[str | None],
        replaced: Sequence[_Replaced | None],
        given: Sequence[int | None] | None,
    ) -> list[int] | None:
        """Places in sessions: those given, those of replaced turns, else the end; None when all are the rows' own."""
        if given is not None:
            self._raise_place_offset(max((place for place in given if place is not None), default=-1), seqs.start)
        elif not self._place_offset and not any(replaced):
            return None
        places = [
            seq + self._place_offset if old is None or old.session != session else old.place
            for seq, session, old in zip(seqs, sessions, replaced or repeat(None), strict=False)
        ]
        return places if given is None else [p if own is None else own for p, own in zip(places, given, strict=True)]

    def _raise_place_offset(self, most: int, next_seq: int) -> None:
        """Let what is added from now on come after place `most`, which another store gave."""
        if most < next_seq + self._place_offset:
            return
        self._place_offset = most + 1 - next_seq
        self.set_setting("place_offset", str(self._place_offset))

    def set_setting(self, name: str, value: str) -> None:
        """Remember something of the store itself, inside a transaction."""
        self._writer.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))

    def record(self, uid: str, scope: Scope, now: float) -> Record | None:
        """A record that has not expired, as the writer sees it inside its transaction; None when there is none."""
        number = self._scope_ids.latest(scope)
        query = RECORDS + "uid = ? AND scope = ? AND (expires_at IS NULL OR expires_at > ?)"
        row = None if number is None else self._writer.execute(query, (uid, number, now)).fetchone()
        return None if row is None else as_record(row)

    def find_seqs(self, uids: Iterable[str], scope: Scope | None) -> list[int]:
        """The rows of these names, as the writer sees them inside its transaction."""
        if scope is None:
            return [row.seq for row in self._find_by_uid(uids, None)]
        number = self._scope_ids.latest(scope)
        return [] if number is None else [row.seq for row in self._find_by_uid(uids, number)]

    def remove(self, seqs: Sequence[int], change: Change) -> None:
        """Delete rows."""
        chosen = json_list(seqs)
        self._writer.execute("DELETE FROM records WHERE seq IN (SELECT value FROM json_each(?))", (chosen,))
        self._writer.execute("DELETE FROM vectors WHERE seq IN (SELECT value FROM json_each(?))", (chosen,))
        change.removed.extend(seqs)

    def _remove_by_uid(self, scope: int, uids: Sequence[str], change: Change) -> dict[str, _Replaced]:
        """Delete the rows that are about to be replaced; returns what their successors take over."""
        found = self._find_by_uid(uids, scope)
        if found:
            self.remove([row.seq for row in found], change)
        return {row.uid: row for row in found}

    def _find_by_uid(self, uids: Iterable[str], scope: int | None) -> list[_Replaced]:
        query = f"SELECT {', '.join(_Replaced._fields)} FROM records WHERE uid IN (SELECT value FROM json_each(?))"  # noqa: S608
        if scope is None:
            return [_Replaced(*row) for row in self._writer.execute(query, (json_list(uids),))]
        return [_Replaced(*row) for row in self._writer.execute(query + " AND scope = ?", (json_list(uids), scope))]

    def _scope_id(self, scope: Scope, model: int | None) -> int:
        """The number of a scope, from now on one of `model`'s vectors."""
        known = self._scope_ids.latest(scope)
        if known is None:
            cursor = self._writer.execute(
                "INSERT INTO scopes (tenant, namespace, model) VALUES (?, ?, ?)", (*scope, model)
            )
            known = int(cursor.lastrowid or 0)
            self._scope_ids.set(scope, known)
        elif model is None or model == self._scope_models.latest(known):
            return known
        else:
            self._writer.execute("UPDATE scopes SET model = ? WHERE id = ?", (model, known))
        if model is not None:
            self._scope_models.set(known, model)
        return known

    def _model_id(self, model_id: str) -> int:
        known = self._model_ids.latest(model_id)
        if known is None:
            cursor = self._writer.execute("INSERT INTO models (model_id) VALUES (?)", (model_id,))
            known = int(cursor.lastrowid or 0)
            self._model_ids.set(model_id, known)
        return known


def _select(values: Sequence[Value], kept: Sequence[int]) -> Sequence[Value]:
    return values if len(values) == len(kept) else [values[i] for i in kept]
