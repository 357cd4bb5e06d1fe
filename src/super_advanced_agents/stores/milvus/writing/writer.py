"""The writer: executes writes one after the other, and stores those that wait together."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, cast

import numpy as np

from super_advanced_agents._runtime.concurrency.gil import yield_gil
from super_advanced_agents.config import DEFAULT_NAMESPACE, Limits
from super_advanced_agents.errors import InvalidInputError, ModelMismatchError
from super_advanced_agents.stores.milvus.expressions import among, every
from super_advanced_agents.stores.milvus.rows import Content, Row, primary_key
from super_advanced_agents.stores.milvus.table import Table
from super_advanced_agents.stores.milvus.writing.expiry import ExpiredRows, ExpirySweep
from super_advanced_agents.stores.milvus.writing.recent_writes import RecentWrites
from super_advanced_agents.stores.milvus.writing.transaction import Transaction
from super_advanced_agents.stores.milvus.writing.write_ids import WriteIds
from super_advanced_agents.stores.options import Metric
from super_advanced_agents.stores.records.documents import checked_document, with_text
from super_advanced_agents.stores.records.patches import merge_patch
from super_advanced_agents.stores.records.scope import Scope
from super_advanced_agents.stores.records.write_digest import write_digest
from super_advanced_agents.stores.requests import (
    AddRequest,
    DeleteRequest,
    PutRequest,
    UpdateRequest,
    WriteRequest,
)
from super_advanced_agents.stores.validation import bounded_rows, model_mismatch, nonzero_rows

_MODEL_KNOWN_S = 2.0
_MAX_MODELS = 10_000
_NO_SESSIONS_S = 5.0
"""The seconds for which a tenant counts as one without sessions, unless one is written here."""


@dataclass(frozen=True, slots=True)
class PreparedWrite:
    """Hold a write, and the contents of its records, which were computed in another thread."""

    request: WriteRequest[Any]
    contents: list[Content] = field(default_factory=list)


class Writer:
    """Execute writes. Only the writer thread calls `write`; any thread calls `prepare`.

    Args:
        table: the rows.
        write_ids: the ids of writes that may be repeated.
        metric: the similarity of two vectors, which decides what vectors are valid.
        limits: the limits that changed metadata must meet.
    """

    def __init__(self, table: Table, write_ids: WriteIds, *, metric: Metric, limits: Limits) -> None:
        self._table = table
        self._write_ids = write_ids
        self._limits = limits
        self._check_rows = nonzero_rows if metric == "cosine" else bounded_rows
        self._models: dict[Scope, tuple[str, float]] = {}
        self._last_seq = 0
        self._without_sessions: dict[str, float] = {}
        self._recent = RecentWrites()
        self._expired = ExpiredRows(table, self._recent)

    def prepare(self, request: WriteRequest[Any]) -> PreparedWrite:
        """Check the vectors of a request, and compute the terms and facts of its records.

        This takes as long as the server needs to store them, so it is done while others are stored.

        Raises:
            InvalidInputError: a vector has no direction, or is too long to compare.
        """
        match request:
            case AddRequest():
                self._check_rows(request.vectors, field="vectors")
                return PreparedWrite(request, _contents(request))
            case PutRequest():
                self._check_rows(request.vectors, field="records")
                return PreparedWrite(request, _contents(request))
            case UpdateRequest() if request.vector is not None:
                self._check_rows(request.vector[np.newaxis], field="vector")
        return PreparedWrite(request)

    def write(self, writes: list[PreparedWrite | ExpirySweep]) -> list[object]:
        """Execute writes in order, and store neighbouring ones of a tenant together.

        Returns:
            For each write its result (the uids, or the number of records stored or deleted) or its error.
        """
        results: list[object] = []
        for _, numbered in groupby(enumerate(writes), key=_group_of):
            group = [write for _, write in numbered]
            try:
                results.extend(self._execute(group))
            except Exception as exc:
                results.extend([exc] * len(group))
        return results

    def _execute(self, group: Sequence[PreparedWrite | ExpirySweep]) -> list[object]:
        outcomes: list[object] = []
        writes = [write for write in group if isinstance(write, PreparedWrite)]
        if not writes:
            return [self._expired.delete(sweep) for sweep in group if isinstance(sweep, ExpirySweep)]
        if writes[0].request.write_id is not None:
            return [self._write_once(writes[0])]
        transaction = self._begin(writes[0].request.tenant, writes)
        for write in writes:
            try:
                outcomes.append(self._apply(write, transaction))
            except (InvalidInputError, ModelMismatchError) as exc:
                outcomes.append(exc)  # raised before the write changed anything
        self._flush(transaction)
        return outcomes

    def _begin(self, tenant: str, writes: Sequence[PreparedWrite]) -> Transaction:
        transaction = Transaction(self._table, tenant, self._recent)
        keys = [key for write in writes for key in _keys_of(write.request)]
        sessions = [session for write in writes for session in _sessions_of(write.request)]
        if sessions:
            self._without_sessions.pop(tenant, None)
        # A complete record needs nothing of the one that it replaces, except the neighbours of a turn. Milvus takes as
        # long to find which of 1,000 keys exist as to store the rows.
        if all(isinstance(write.request, PutRequest) for write in writes) and not self._may_have_sessions(tenant):
            transaction.assume_new(keys)
        transaction.load(keys)
        transaction.load_sessions(sessions)
        return transaction

    def _may_have_sessions(self, tenant: str) -> bool:
        now = time.monotonic()
        if now < self._without_sessions.get(tenant, 0.0):
            return False
        if self._table.some(tenant, every(self._table.scope(tenant), 'session != ""'), ["pk"], 1):
            return True
        if len(self._without_sessions) >= _MAX_MODELS:
            self._without_sessions.clear()
        self._without_sessions[tenant] = now + _NO_SESSIONS_S
        return False

    def _write_once(self, write: PreparedWrite) -> object:
        request = write.request
        assert request.write_id is not None
        tenant, write_id, digest = request.tenant, request.write_id, write_digest(request).hex()
        given = None
        if isinstance(request, AddRequest):
            given = list(request.uids) if request.uids is not None else [None] * len(request.vectors)
        known = self._write_ids.find(tenant, write_id, digest, given)
        if known is not None and known.done:
            return known.result
        planned = None
        if isinstance(request, AddRequest):
            planned = request.with_uids().uids if known is None else cast("list[str]", known.result)
            write = PreparedWrite(request.replaced(uids=planned), write.contents)
        transaction = self._begin(tenant, [write])
        result = self._apply(write, transaction)
        # Before the rows: a repetition after a crash in between stores rows with the same uids.
        self._write_ids.store(tenant, write_id, digest, given, None if planned is None else [*planned], done=False)
        self._flush(transaction)
        self._write_ids.store(tenant, write_id, digest, given, result, done=True)
        return result

    def _flush(self, transaction: Transaction) -> None:
        transaction.flush()
        now = time.monotonic()
        if len(self._models) >= _MAX_MODELS:
            self._models.clear()
        self._models.update((scope, (model, now + _MODEL_KNOWN_S)) for scope, model in transaction.models.items())
        self._expired.delete_after_write(transaction.tenant)

    # -- each kind of write ---------------------------------------------------------------------------------------

    def _apply(self, write: PreparedWrite, transaction: Transaction) -> object:
        match write.request:
            case AddRequest() as request:
                return self._add(request, write.contents, transaction)
            case PutRequest() as request:
                return self._put(request, write.contents, transaction)
            case UpdateRequest() as request:
                return self._update(request, transaction)
            case DeleteRequest() as request:
                return self._delete(request, transaction)
            case request:
                raise AssertionError(request)

    def _add(self, request: AddRequest, contents: Sequence[Content], transaction: Transaction) -> list[str]:
        scope, now, clock = _scope_of(request), time.time(), self._table.clock
        given = request.uids or [None] * len(request.vectors)
        uids = cast("list[str]", request.with_uids().uids)
        keys = [primary_key(scope, uid) for uid in uids]
        transaction.assume_new(key for key, uid in zip(keys, given, strict=True) if uid is None)
        if request.model_id is not None:
            self._check_model(transaction, scope, request.model_id, () if request.uids is None else keys)
            transaction.models[scope] = request.model_id
        positions = list({key: i for i, key in enumerate(keys)}.values())  # of equal uids the last wins
        digests = {i: contents[i].digest for i in positions}
        original = self._duplicates(transaction, scope, uids, digests) if request.dedupe is not None else {}
        seq = self._next_seqs(len(positions))
        for i in positions:
            if uids[i] in original:
                continue
            old = transaction.get(keys[i])
            lifetime = None if request.expires_in_s is None else request.expires_in_s[i]
            transaction.put(
                Row(
                    scope=scope,
                    uid=uids[i],
                    pk=keys[i],
                    seq=next(seq),
                    content=contents[i],
                    model_id=request.model_id,
                    source=None if request.sources is None else request.sources[i],
                    session=None if request.sessions is None else request.sessions[i],
                    place=None,
                    created_at=now if old is None else old.created_at,
                    updated_at=now,
                    expires_at=None if lifetime is None else clock.now() + lifetime,
                    priority=None if request.priorities is None else request.priorities[i],
                )
            )
        return [original.get(uid, uid) for uid in uids]

    def _duplicates(
        self, transaction: Transaction, scope: Scope, uids: Sequence[str], digests: dict[int, str]
    ) -> dict[str, str]:
        # uid -> the uid of a record with the same content. A record whose uid exists is replaced in any case.
        replacing = {i: key for i in digests if transaction.get(key := primary_key(scope, uids[i])) is not None}
        known = {digests[i]: uids[i] for i in replacing}
        known |= transaction.uids_by_digest(scope, set(digests.values()), but_for=set(replacing.values()))
        original = {}
        for i, digest in digests.items():
            if i not in replacing and known.setdefault(digest, uids[i]) != uids[i]:
                original[uids[i]] = known[digest]
        return original

    def _put(self, request: PutRequest, contents: Sequence[Content], transaction: Transaction) -> int:
        now, models_of = self._table.clock.now(), {}
        live = [i for i, record in enumerate(request.records) if record.expires_at is None or record.expires_at > now]
        by_key = {_key_of(request, i): i for i in live}
        for namespace in dict.fromkeys(request.records[i].namespace for i in live):
            chosen = [i for i in live if request.records[i].namespace == namespace]
            models = list(dict.fromkeys(m for i in chosen if (m := request.records[i].model_id) is not None))
            if len(models) > 1:
                raise model_mismatch(namespace, models[0], models[1])
            if models:
                scope = Scope(request.tenant, namespace)
                self._check_model(transaction, scope, models[0], [_key_of(request, i) for i in chosen])
                models_of[scope] = models[0]
        transaction.models |= models_of
        seq = self._next_seqs(len(by_key))
        for key, i in by_key.items():
            record = request.records[i]
            transaction.put(
                Row(
                    scope=Scope(request.tenant, record.namespace),
                    uid=record.uid,
                    pk=key,
                    seq=next(seq),
                    content=contents[i],
                    model_id=record.model_id,
                    source=record.source,
                    session=record.session,
                    place=record.place,
                    created_at=record.created_at,
                    updated_at=record.updated_at,
                    expires_at=record.expires_at,
                    priority=record.priority,
                )
            )
        return len(by_key)

    def _update(self, request: UpdateRequest, transaction: Transaction) -> bool:
        scope = _scope_of(request)
        key = primary_key(scope, request.uid)
        old = transaction.get(key)
        if old is None:
            return False
        stored = old.content.document
        metadata = merge_patch(with_text(stored.text, stored.json), request.changes or {})
        document = checked_document(metadata, field="changes", limits=self._limits, stored=True)
        if request.vector is not None and request.model_id is not None:
            self._check_model(transaction, scope, request.model_id, [key])
            transaction.models[scope] = request.model_id
        vector = old.content.vector if request.vector is None else request.vector
        lifetime = request.expires_in_s
        expires_at = self._table.clock.now() + lifetime if isinstance(lifetime, int | float) else lifetime
        transaction.put(
            Row(
                scope=scope,
                uid=old.uid,
                pk=key,
                seq=next(self._next_seqs(1)),
                content=Content.prepared(document, vector),
                model_id=old.model_id if request.vector is None else request.model_id,
                source=old.source if request.source is ... else request.source,
                session=old.session,
                place=old.place,
                created_at=old.created_at,
                updated_at=time.time(),
                expires_at=old.expires_at if expires_at is ... else expires_at,
                priority=old.priority if request.priority is ... else request.priority,
            )
        )
        return True

    def _delete(self, request: DeleteRequest, transaction: Transaction) -> int:
        live, table = self._table.live(request.tenant, request.namespace), self._table
        keys: list[str] = []
        if request.uids is None:
            keys = table.keys_matching(request.tenant, live, request.tree)
        elif request.uids:
            keys = table.keys_matching(request.tenant, every(live, among("uid", request.uids)), request.tree)
        transaction.remove(keys)
        return len(keys)

    def _check_model(self, transaction: Transaction, scope: Scope, model_id: str, replaced: Sequence[str]) -> None:
        # Rows with the keys `replaced` may have another model now.
        known, until = self._models.get(scope, ("", 0.0))
        if transaction.models.get(scope, known if time.monotonic() < until else None) != model_id:
            other = transaction.other_model(scope, model_id, but_for={*replaced})
            if other is not None:
                raise model_mismatch(scope.namespace, other, model_id)

    def _next_seqs(self, count: int) -> Iterator[int]:
        # Microseconds, so that the writes of several processes are ordered by time.
        first = max(self._last_seq + 1, time.time_ns() // 1_000)
        self._last_seq = first + count
        return iter(range(first, first + count))


def cost_of(write: PreparedWrite | ExpirySweep) -> int:
    """Return how many records a write counts as in the queue of writes."""
    return max(1, len(write.contents)) if isinstance(write, PreparedWrite) else 1


def _contents(request: AddRequest | PutRequest) -> list[Content]:
    return [
        Content.prepared(document, vector)
        for document, vector in yield_gil(zip(request.documents, request.vectors, strict=True))
    ]


def _group_of(numbered: tuple[int, PreparedWrite | ExpirySweep]) -> tuple[str, int]:
    # Neighbouring writes of equal keys are stored together; a key with the position is unique.
    position, prepared = numbered
    if isinstance(prepared, ExpirySweep):
        return prepared.tenant, position + 1
    write = prepared.request
    alone = write.write_id is not None or isinstance(write, DeleteRequest)
    return write.tenant, position + 1 if alone else 0


def _scope_of(request: AddRequest | UpdateRequest) -> Scope:
    return Scope(request.tenant, request.namespace or DEFAULT_NAMESPACE)


def _key_of(request: PutRequest, i: int) -> str:
    return primary_key(Scope(request.tenant, request.records[i].namespace), request.records[i].uid)


def _keys_of(write: WriteRequest[Any]) -> Iterator[str]:
    # The primary keys of rows that may exist; a uid that is made now belongs to none.
    match write:
        case AddRequest():
            yield from (primary_key(_scope_of(write), uid) for uid in write.uids or () if uid is not None)
        case PutRequest():
            yield from (_key_of(write, i) for i in range(len(write.records)))
        case UpdateRequest():
            yield primary_key(_scope_of(write), write.uid)


def _sessions_of(write: WriteRequest[Any]) -> Iterator[tuple[str, str]]:
    match write:
        case AddRequest():
            namespace = _scope_of(write).namespace
            yield from ((namespace, session) for session in write.sessions or () if session is not None)
        case PutRequest():
            yield from ((each.namespace, each.session) for each in write.records if each.session is not None)
