"""Batches of rows to write, and the rows that a transaction adds and removes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import compress

from super_advanced_agents._runtime.clock import ForwardClock
from super_advanced_agents.stores.records.documents import Document
from super_advanced_agents.stores.records.scope import Scope
from super_advanced_agents.stores.requests import AddRequest, PutRequest
from super_advanced_agents.stores.validation import model_mismatch
from super_advanced_agents.types import Matrix, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFields:
    """Hold the record fields that a put request sets itself, as parallel lists.

    For an add request the store sets them.

    Attributes:
        created_at: seconds since the epoch.
        updated_at: seconds since the epoch.
        places: the position of each record in its session; None for the end.
        has_model: True where the vector was made by the model of the batch.
    """

    created_at: Sequence[float]
    updated_at: Sequence[float]
    places: Sequence[int | None]
    has_model: Sequence[bool]


@dataclass(slots=True, kw_only=True)
class RowBatch:
    """Hold n validated records of one namespace to insert or replace, as parallel lists.

    Attributes:
        scope: the tenant and namespace of all records.
        uids: (n,) uids; the last of equal ones is stored.
        known_new: True when the store generated every uid, so that none can exist yet.
        documents: (n,) texts and metadata.
        vectors: (n, dim) float32, as the caller gave them.
        scaled: (n, dim) float32, as searches compare them: of length 1 when the metric is cosine.
        model_id: the embedding model of the vectors; None when it is unknown.
        sources: (n,) sources; None where a record has none.
        sessions: (n,) sessions; None where a record has none.
        now: the time of the write, in seconds since the epoch.
        expires_at: (n,) seconds since the epoch; None where a record does not expire.
        priorities: (n,) priorities; None where a record has none.
        digests: (n,) digests of the content; None unless records with known content are to be left out.
        stored_fields: fields that records keep from an earlier store; None for new records.
        same_vectors: True when the vectors are in the store already, so the model of the scope stays as it is.
    """

    scope: Scope
    uids: Sequence[str]
    known_new: bool
    documents: Sequence[Document]
    vectors: Matrix
    scaled: Matrix
    model_id: str | None
    sources: Sequence[str | None]
    sessions: Sequence[str | None]
    now: float
    expires_at: Sequence[float | None]
    priorities: Sequence[float | None]
    digests: Sequence[bytes] | None = None
    stored_fields: StoredFields | None = None
    same_vectors: bool = False

    @classmethod
    def of(cls, request: AddRequest, scaled: Matrix, *, now: float, clock: ForwardClock) -> RowBatch:
        """Build the batch of rows that an add request writes.

        Args:
            request: the validated request.
            scaled: (n, dim), its vectors as searches compare them.
            now: seconds since the epoch.
            clock: the clock by which records expire.
        """
        nothing = [None] * len(scaled)
        lifetimes = request.expires_in_s or nothing
        return cls(
            scope=Scope.of_writing(request.tenant, request.namespace),
            uids=[uid or "" for uid in request.with_uids().uids or ()],
            known_new=request.uids is None or not any(request.uids),
            documents=request.documents,
            vectors=request.vectors,
            scaled=scaled,
            model_id=request.model_id,
            sources=request.sources or nothing,
            sessions=request.sessions or nothing,
            now=now,
            expires_at=[None if lifetime is None else clock.now() + lifetime for lifetime in lifetimes],
            priorities=request.priorities or nothing,
        )

    @classmethod
    def by_namespace(cls, request: PutRequest, scaled: Matrix, *, now: float) -> list[RowBatch]:
        """Build the row batches of a put request, one for each namespace of its records.

        Records that have expired are left out.

        Args:
            request: the validated request.
            scaled: (n, dim), its vectors as searches compare them.
            now: seconds since the epoch, by the clock by which records expire.

        Raises:
            ModelMismatchError: two records of one namespace were embedded by different models.
        """
        live = [record.expires_at is None or record.expires_at > now for record in request.records]
        namespaces = dict.fromkeys(record.namespace for record in compress(request.records, live))
        return [
            _batch_of_records(
                Scope(request.tenant, name),
                request,
                scaled,
                [i for i, record in enumerate(request.records) if live[i] and record.namespace == name],
                now,
            )
            for name in namespaces
        ]


def _batch_of_records(
    scope: Scope, request: PutRequest, scaled: Matrix, selected: Sequence[int], now: float
) -> RowBatch:
    records = [request.records[i] for i in selected]
    are_all = len(selected) == len(request.records)
    return RowBatch(
        scope=scope,
        uids=[record.uid for record in records],
        known_new=False,
        documents=[request.documents[i] for i in selected],
        vectors=request.vectors if are_all else request.vectors[selected],
        scaled=scaled if are_all else scaled[selected],
        model_id=_common_model(records, scope.namespace),
        sources=[record.source for record in records],
        sessions=[record.session for record in records],
        now=now,
        expires_at=[record.expires_at for record in records],
        priorities=[record.priority for record in records],
        stored_fields=StoredFields(
            created_at=[record.created_at for record in records],
            updated_at=[record.updated_at for record in records],
            places=[None if record.session is None else record.place for record in records],
            has_model=[record.model_id is not None for record in records],
        ),
    )


def _common_model(records: Sequence[Record], namespace: str) -> str | None:
    models = list(dict.fromkeys(record.model_id for record in records if record.model_id is not None))
    if len(models) > 1:
        raise model_mismatch(namespace, models[0], models[1])
    return models[0] if models else None


@dataclass(slots=True)
class Change:
    """Collect the rows that a transaction adds and removes.

    After the commit, the indexes in memory are updated from it.

    Attributes:
        added: the new row numbers, ascending; the next four lists are parallel to it.
        scopes: for each new row the id of its scope, which is one tenant's namespace.
        expires_at: seconds since the epoch; None where a row does not expire.
        sessions: the session of each new row; None where it has none.
        replaces: the row that each new row replaces; None where it replaces none.
        removed: the deleted rows, replaced ones included.
        explicit_places: row -> its place in its session, for rows whose place came with the request.
    """

    added: list[int] = field(default_factory=list)
    scopes: list[int] = field(default_factory=list)
    expires_at: list[float | None] = field(default_factory=list)
    sessions: list[str | None] = field(default_factory=list)
    replaces: list[int | None] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)
    explicit_places: dict[int, int] = field(default_factory=dict)
