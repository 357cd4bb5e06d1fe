"""Transactions that add or change records: adds, puts and updates, each all or nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from super_advanced_agents._runtime.postgres import Connection, Database
from super_advanced_agents.config import DEFAULT_NAMESPACE, Limits
from super_advanced_agents.stores.faiss.rows.duplicates import digest_of
from super_advanced_agents.stores.postgres.codecs import (
    Column,
    VectorCodec,
    copied_numbers,
    copied_rows,
    copied_texts,
    needs_original,
    of_raw_bytes,
    packed_integers,
    raw_bytes,
)
from super_advanced_agents.stores.postgres.filters import filterable_jsons
from super_advanced_agents.stores.postgres.rows import RECORD_COLUMNS, as_record
from super_advanced_agents.stores.postgres.scopes import NOW, Delta, Scope, Scopes
from super_advanced_agents.stores.postgres.writing.batches import Batch, analyzed
from super_advanced_agents.stores.postgres.writing.deleter import REMOVED_COLUMNS, Deleter, Removed, Swept, removed_rows
from super_advanced_agents.stores.postgres.writing.keywords import KeywordWriter, Turn
from super_advanced_agents.stores.records.documents import Document, checked_document
from super_advanced_agents.stores.records.patches import merge_patch
from super_advanced_agents.stores.requests import UpdateRequest
from super_advanced_agents.stores.validation import model_mismatch, unit_rows
from super_advanced_agents.types import Record

_DIGEST_PAGE = 1_000


class Writer:
    """Add and change records. All methods run in the event loop of the database's connections.

    Args:
        database: the database.
        scopes: its scopes.
        codec: the codec of its vectors.
        limits: the limits that updated metadata must meet.
        keywords: keeps the keyword index in step.
        deleter: removes expired records.
        unit: whether vectors are compared by their directions alone.
        grown: called after each write with the number of its scope, its records and the state of its graph.
    """

    def __init__(
        self,
        database: Database,
        scopes: Scopes,
        codec: VectorCodec,
        limits: Limits,
        *,
        keywords: KeywordWriter,
        deleter: Deleter,
        unit: bool,
        grown: Callable[[int, int, str | None], None],
    ) -> None:
        self._scopes, self._codec, self._limits, self._unit = scopes, codec, limits, unit
        self._grown = grown
        self._keywords, self._deleter = keywords, deleter
        sql = database.sql
        self._remove_uids = sql(
            f"DELETE FROM {{schema}}.records WHERE scope = %s AND uid = ANY(%s::text[]) RETURNING {REMOVED_COLUMNS}"  # noqa: S608
        )
        self._next_seqs = sql("SELECT string_agg(int8send(nextval('{schema}.seqs')), '') FROM generate_series(1, %s)")
        self._tails = sql(
            "SELECT u.session, r.place FROM unnest(%s::text[]) AS u(session) CROSS JOIN LATERAL (SELECT place FROM "
            "{schema}.records WHERE scope = %s AND session = u.session ORDER BY place DESC LIMIT 1) r"
        )
        self._insert = sql("COPY {schema}.records ({columns}) FROM STDIN (FORMAT BINARY)")
        live = f"(expires_at IS NULL OR expires_at > {NOW})"
        self._other_model = sql(
            f"SELECT model FROM {{schema}}.records WHERE scope = %s AND model IS NOT NULL AND model <> %s AND {live} "  # noqa: S608
            "AND uid <> ALL(%s::text[]) LIMIT 1"
        )
        self._by_digest = sql(
            f"SELECT digest, uid FROM {{schema}}.records WHERE scope = %s AND digest = ANY(%s::bytea[]) AND {live} "  # noqa: S608
            "ORDER BY seq"
        )
        self._live_uids = sql(
            f"SELECT uid FROM {{schema}}.records WHERE scope = %s AND uid = ANY(%s::text[]) AND {live}"  # noqa: S608
        )
        self._record = sql(
            f"SELECT {RECORD_COLUMNS} FROM {{schema}}.records r WHERE r.scope = %s AND r.uid = %s AND {live}"  # noqa: S608
        )
        self._without_digest = sql(
            "SELECT seq, text, metadata, vector, original FROM {schema}.records "
            "WHERE scope = %s AND seq > %s ORDER BY seq LIMIT %s"
        )
        self._set_digests = sql(
            "UPDATE {schema}.records r SET digest = u.digest FROM unnest(%s::bigint[], %s::bytea[]) AS u(seq, digest) "
            "WHERE r.scope = %s AND r.seq = u.seq"
        )

    async def _finish(self, connection: Connection, scope: Scope, delta: Delta) -> None:
        after = await self._scopes.finish(connection, scope, delta)
        self._grown(after.number, after.rows, after.graph)

    # -- adding -----------------------------------------------------------------------------------------------------

    async def add(self, connection: Connection, tenant: str, batch: Batch, swept: Swept) -> list[str]:
        """Insert or replace the records of a batch; return each one's uid, or its duplicate's.

        Some expired records of the namespace are deleted, and noted in `swept`.
        """
        scope, now = await self._scopes.lock(connection, tenant, batch.namespace)
        await self._check_model(connection, scope, batch)
        delta, uids = Delta(), list(batch.uids)
        if batch.digests is not None:
            batch, uids = await self._without_duplicates(connection, scope, batch)
            delta.digests = True
        if batch.uids:
            await self._replace(connection, scope, batch, delta, now)
        if scope.expires:
            swept.rows = await self._deleter.remove_expired(connection, scope, delta, now)
        await self._finish(connection, scope, delta)
        return uids

    async def put(self, connection: Connection, tenant: str, batches: Sequence[Batch]) -> int:
        """Insert or replace complete records; return the number of records that have not expired."""
        locked = [await self._scopes.lock(connection, tenant, batch.namespace) for batch in batches]
        kept = []
        for (scope, now), batch in zip(locked, batches, strict=True):
            assert batch.expires_at is not None
            live = [i for i, at in enumerate(batch.expires_at) if at is None or at > now]
            kept.append(batch.selected(live))
            await self._check_model(connection, scope, kept[-1])
        stored = 0
        for (scope, now), batch in zip(locked, kept, strict=True):
            if batch.uids:
                delta = Delta()
                stored += await self._replace(connection, scope, batch, delta, now)
                await self._finish(connection, scope, delta)
        return stored

    async def update(self, connection: Connection, request: UpdateRequest) -> bool:
        """Change one record; return whether there is one.

        Raises:
            InvalidInputError: the new metadata is too large or too deeply nested, or its text is invalid.
        """
        namespace = request.namespace or DEFAULT_NAMESPACE
        if await self._scopes.find(connection, request.tenant, namespace) is None:
            return False
        scope, now = await self._scopes.lock(connection, request.tenant, namespace)
        cursor = connection.cursor(binary=True)
        await cursor.execute(self._record, (scope.number, request.uid))
        row = await cursor.fetchone()
        if row is None:
            return False
        batch = self._updated(request, as_record(row, namespace, self._codec), now)
        await self._check_model(connection, scope, batch)
        delta = Delta()
        await self._replace(connection, scope, batch, delta, now)
        await self._finish(connection, scope, delta)
        return True

    def _updated(self, request: UpdateRequest, record: Record, now: float) -> Batch:
        metadata = merge_patch(record.metadata, request.changes or {})
        documents = [checked_document(metadata, field="changes", limits=self._limits, stored=True)]
        lifetime = request.expires_in_s
        expires_at = now + lifetime if isinstance(lifetime, int | float) else lifetime
        return Batch(
            namespace=record.namespace,
            uids=[record.uid],
            known_new=False,
            documents=documents,
            vectors=(record.vector if request.vector is None else request.vector)[np.newaxis],
            analyses=analyzed(documents),
            models=[record.model_id if request.vector is None else request.model_id],
            sources=[record.source if request.source is ... else request.source],
            sessions=[record.session],
            lifetimes=[None],
            priorities=[record.priority if request.priority is ... else request.priority],
            expires_at=[record.expires_at if expires_at is ... else expires_at],
            times=[(record.created_at, now)],
            places=[record.place],
            same_vectors=request.vector is None,
        )

    async def _check_model(self, connection: Connection, scope: Scope, batch: Batch) -> None:
        if batch.same_vectors or batch.model is None or scope.model in (None, batch.model):
            return
        cursor = await connection.execute(self._other_model, (scope.number, batch.model, list(batch.uids)))
        row = await cursor.fetchone()
        if row is not None:
            raise model_mismatch(batch.namespace, row[0], batch.model)

    async def _without_duplicates(self, connection: Connection, scope: Scope, batch: Batch) -> tuple[Batch, list[str]]:
        # A record whose uid exists already is never left out: it replaces the record of that uid.
        assert batch.digests is not None
        if not scope.digests:
            await self._store_digests(connection, scope)
        digests = dict(zip(batch.uids, batch.digests, strict=True))  # of equal uids the last wins
        cursor = await connection.execute(self._live_uids, (scope.number, list(digests)))
        replacing = {uid for (uid,) in await cursor.fetchall()}
        cursor = await connection.execute(self._by_digest, (scope.number, list(set(digests.values()))))
        known: dict[bytes, str] = {}
        for digest, uid in await cursor.fetchall():
            if uid not in digests:
                known.setdefault(bytes(digest), uid)
        for uid, digest in digests.items():
            if uid in replacing:
                known.setdefault(digest, uid)
        result: dict[str, str] = {}
        for uid, digest in digests.items():
            result[uid] = uid if uid in replacing else known.setdefault(digest, uid)
        kept = [i for i, uid in enumerate(batch.uids) if result[uid] == uid]
        return batch.selected(kept), [result[uid] for uid in batch.uids]

    async def _store_digests(self, connection: Connection, scope: Scope) -> None:
        last = 0
        while True:
            cursor = connection.cursor(binary=True)
            await cursor.execute(self._without_digest, (scope.number, last, _DIGEST_PAGE))
            page = await cursor.fetchall()
            if not page:
                return
            last = page[-1][0]
            digests = [self._stored_digest(row) for row in page]
            await connection.execute(
                self._set_digests, (packed_integers([row[0] for row in page]), digests, scope.number)
            )

    def _stored_digest(self, row: Sequence[Any]) -> bytes:
        _, text, metadata, vector, original = row
        numbers = self._codec.unpacked(vector) if original is None else of_raw_bytes(original)
        return digest_of(Document(text, metadata.encode()), b"" if text is not None else numbers.tobytes())

    async def _replace(self, connection: Connection, scope: Scope, batch: Batch, delta: Delta, now: float) -> int:
        # Inserts the records, in place of those with their uids; returns their number.
        removed: list[Removed] = []
        if not batch.known_new:
            last = {uid: i for i, uid in enumerate(batch.uids)}
            batch = batch.selected(sorted(last.values()))
            removed = await removed_rows(connection, self._remove_uids, (scope.number, list(batch.uids)))
        if scope.digests or delta.digests:
            batch = batch.with_digests()
        n = len(batch.uids)
        cursor = await connection.execute(self._next_seqs, (n,))
        [[packed]] = await cursor.fetchall()
        seqs = np.frombuffer(packed, dtype=">i8").tolist()
        old = {row.uid: row for row in removed}
        places = await self._places(connection, scope, batch, seqs, old)
        number: Column = [(4).to_bytes(4, "big") + scope.number.to_bytes(4, "big")] * n
        await self._copy(connection, {"scope": number, **self._columns(batch, seqs, places, old, now)})
        delta.expires = delta.expires or any(each is not None for each in batch.expires_at or batch.lifetimes)
        turns = [Turn(row.session, row.place, row.seq) for row in removed if row.session is not None]
        turns += [
            Turn(session, place, seq)
            for session, place, seq in zip(batch.sessions, places, seqs, strict=True)
            if session is not None
        ]
        delta.rows += n - len(removed)
        delta.sessions = delta.sessions or any(session is not None for session in batch.sessions)
        if not batch.same_vectors:
            delta.model = batch.model or delta.model
        added = {seq: each for seq, each in zip(seqs, batch.analyses, strict=True) if each is not None}
        gone = [row.seq for row in removed]
        await self._keywords.follow(connection, scope, delta, removed=gone, added=added, turns=turns)
        return n

    async def _places(
        self, connection: Connection, scope: Scope, batch: Batch, seqs: Sequence[int], old: dict[str, Removed]
    ) -> list[int]:
        # A turn's place is the given one, else that of the replaced turn, else the end of the session.
        given = batch.places or [None] * len(seqs)
        sessions = sorted({session for session in batch.sessions if session is not None})
        tails: dict[str, int] = {}
        if sessions and scope.sessions:
            cursor = await connection.execute(self._tails, (sessions, scope.number))
            tails = dict(await cursor.fetchall())
        for row in old.values():
            if row.session is not None:
                tails[row.session] = max(tails.get(row.session, 0), row.place)
        for session, place in zip(batch.sessions, given, strict=True):
            if session is not None and place is not None:
                tails[session] = max(tails.get(session, 0), place)
        places = []
        for uid, session, place, seq in zip(batch.uids, batch.sessions, given, seqs, strict=True):
            before = old.get(uid)
            if session is None:
                places.append(seq)
            elif place is not None:
                places.append(place)
            elif before is not None and before.session == session:
                places.append(before.place)
            else:
                tails[session] = max(seq, tails.get(session, 0) + 1)
                places.append(tails[session])
        return places

    async def _copy(self, connection: Connection, columns: dict[str, Column]) -> None:
        given = {name: column for name, column in columns.items() if column is not None}
        async with connection.cursor().copy(self._insert.replace("{columns}", ", ".join(given))) as copy:
            await copy.write(copied_rows(list(given.values())))

    def _columns(
        self, batch: Batch, seqs: Sequence[int], places: Sequence[int], old: dict[str, Removed], now: float
    ) -> dict[str, Column]:
        vectors, originals = self._stored_vectors(batch)
        metadatas = [document.json for document in batch.documents]
        times = batch.times or [(old[uid].created_at if uid in old else now, now) for uid in batch.uids]
        expires_at = batch.expires_at or [None if each is None else now + each for each in batch.lifetimes]
        return {
            "seq": copied_numbers(seqs, ">i8"),
            "created_at": copied_numbers([created for created, _ in times], ">f8"),
            "updated_at": copied_numbers([updated for _, updated in times], ">f8"),
            "expires_at": copied_numbers(list(expires_at), ">f8"),
            "priority": copied_numbers(list(batch.priorities), ">f8"),
            "place": copied_numbers(places, ">i8"),
            "vector": self._codec.copied(vectors),
            "uid": copied_texts(batch.uids),
            "session": copied_texts(batch.sessions),
            "source": copied_texts(batch.sources),
            "model": copied_texts(batch.models),
            "digest": copied_texts(batch.digests or [None] * len(seqs)),
            "original": copied_texts(originals),
            "fields": copied_texts(filterable_jsons(metadatas), prefix=b"\1"),
            "metadata": copied_texts(metadatas),
            "text": copied_texts([document.text for document in batch.documents]),
        }

    def _stored_vectors(self, batch: Batch) -> tuple[Any, list[bytes | None]]:
        originals: list[bytes | None] = [None] * len(batch.uids)
        if not self._unit:
            return batch.vectors, originals
        unsafe = needs_original(batch.vectors)
        if not unsafe.any():
            return batch.vectors, originals
        vectors = batch.vectors.copy()
        vectors[unsafe] = unit_rows(vectors[unsafe], field="vectors")
        for i in np.flatnonzero(unsafe).tolist():
            originals[i] = raw_bytes(batch.vectors[i])
        return vectors, originals
