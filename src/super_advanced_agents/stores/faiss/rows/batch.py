"""What is written to the rows of a store, and what a commit did to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import NamedTuple

from super_advanced_agents.config import DEFAULT_NAMESPACE
from super_advanced_agents.stores.requests import AddRequest, PutRequest
from super_advanced_agents.stores.validation import Document, model_mismatch
from super_advanced_agents.types import Matrix, Record


class Scope(NamedTuple):
    """Whose records: the tenant comes from a credential, the namespace from the caller."""

    tenant: str
    namespace: str

    @classmethod
    def of_reading(cls, tenant: str, namespace: str | None) -> Scope | None:
        """Return the scope of a request that reads or deletes; None for the whole store."""
        return None if namespace is None else cls(tenant, namespace)

    @classmethod
    def of_writing(cls, tenant: str, namespace: str | None) -> Scope:
        """Return the scope of a request that writes, which has a namespace in any case."""
        return cls(tenant, namespace or DEFAULT_NAMESPACE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What a record that was stored before brings along; parallel lists.

    Attributes:
        created_at: seconds since the epoch.
        updated_at: seconds since the epoch.
        places: in their sessions; None for the end.
        modelled: whether the addition's model made the record's vector.
    """

    created_at: Sequence[float]
    updated_at: Sequence[float]
    places: Sequence[int | None]
    modelled: Sequence[bool]


@dataclass(slots=True, kw_only=True)
class RowBatch:
    """Records of one scope to insert or replace, checked; parallel lists of n."""

    scope: Scope
    uids: Sequence[str]
    known_new: bool  # the store made every uid itself, so none can exist yet
    documents: Sequence[Document]
    vectors: Matrix
    scaled: Matrix  # the vectors as searches compare them: of length 1 when the metric is the cosine
    model_id: str | None
    sources: Sequence[str | None]
    sessions: Sequence[str | None]
    now: float
    expires_at: Sequence[float | None]
    priorities: Sequence[float | None]
    digests: Sequence[bytes] | None = None  # given where content that is there already is not to be stored again
    stored: Stored | None = None
    same_vectors: bool = False  # those that are there already, so they say nothing new of the scope's model

    @classmethod
    def of(cls, request: AddRequest, scaled: Matrix, *, now: float) -> RowBatch:
        """Make one of a request.

        Args:
            request: what is to be stored.
            scaled: (n, dim), its vectors as searches compare them.
            now: seconds since the epoch.
        """
        nothing = [None] * len(scaled)
        lifetimes = request.expires_in_s or nothing
        return cls(
            scope=Scope.of_writing(request.tenant, request.namespace),
            uids=[uid or "" for uid in request.named().uids or ()],
            known_new=request.uids is None or not any(request.uids),
            documents=request.documents,
            vectors=request.vectors,
            scaled=scaled,
            model_id=request.model_id,
            sources=request.sources or nothing,
            sessions=request.sessions or nothing,
            now=now,
            expires_at=[None if lifetime is None else now + lifetime for lifetime in lifetimes],
            priorities=request.priorities or nothing,
        )

    @classmethod
    def all_of(cls, request: PutRequest, scaled: Matrix, *, now: float) -> list[RowBatch]:
        """Make one for each namespace of whole records, in their order; expired ones are left out.

        Raises:
            ModelMismatchError: two records of one namespace were embedded by different models.
        """
        live = [record.expires_at is None or record.expires_at > now for record in request.records]
        namespaces = dict.fromkeys(record.namespace for record in compress(request.records, live))
        return [
            _of_records(
                Scope(request.tenant, name),
                request,
                scaled,
                [i for i, record in enumerate(request.records) if live[i] and record.namespace == name],
                now,
            )
            for name in namespaces
        ]


def _of_records(scope: Scope, request: PutRequest, scaled: Matrix, chosen: Sequence[int], now: float) -> RowBatch:
    records = [request.records[i] for i in chosen]
    whole = len(chosen) == len(request.records)
    return RowBatch(
        scope=scope,
        uids=[record.uid for record in records],
        known_new=False,
        documents=[request.documents[i] for i in chosen],
        vectors=request.vectors if whole else request.vectors[chosen],
        scaled=scaled if whole else scaled[chosen],
        model_id=_one_model(records, scope.namespace),
        sources=[record.source for record in records],
        sessions=[record.session for record in records],
        now=now,
        expires_at=[record.expires_at for record in records],
        priorities=[record.priority for record in records],
        stored=Stored(
            created_at=[record.created_at for record in records],
            updated_at=[record.updated_at for record in records],
            places=[None if record.session is None else record.place for record in records],
            modelled=[record.model_id is not None for record in records],
        ),
    )


def _one_model(records: Sequence[Record], namespace: str) -> str | None:
    named = list(dict.fromkeys(record.model_id for record in records if record.model_id is not None))
    if len(named) > 1:
        raise model_mismatch(namespace, named[0], named[1])
    return named[0] if named else None


@dataclass(slots=True)
class Change:
    """What a committed transaction did, for the indexes that follow it. Parallel lists for what was added."""

    added: list[int] = field(default_factory=list)
    scopes: list[int] = field(default_factory=list)
    expires_at: list[float | None] = field(default_factory=list)
    sessions: list[str | None] = field(default_factory=list)
    replaces: list[int | None] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)
    placed: dict[int, int] = field(default_factory=dict)
    """Row -> its place, for rows whose place in their session was given."""
