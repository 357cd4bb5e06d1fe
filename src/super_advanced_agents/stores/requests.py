"""Requests: one frozen dataclass per store operation, which validates its arguments.

`VectorStore` makes a request for every call of a public method and passes it to the engine's `_execute`. A wrapper
changes fields with `replaced` and passes the request on; it is not validated again. Fields that are derived from others
(`init=False`) are for engines and are never sent over a network.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import InitVar, dataclass, field, fields
from functools import partial
from types import EllipsisType
from typing import Any, Generic, Self, TypeAlias, TypeVar

from super_advanced_agents._runtime.concurrency.gil import yield_gil
from super_advanced_agents._runtime.uids import fill_missing_uids
from super_advanced_agents.config import Limits, checked_agent_name, checked_name, checked_text
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.stores.filters import Filter, parse
from super_advanced_agents.stores.records.documents import Document, checked_document
from super_advanced_agents.stores.validation import (
    checked_dedupe,
    checked_each,
    checked_lifetime,
    checked_limit,
    checked_list,
    checked_min_similarity,
    checked_model_id,
    checked_predicate,
    checked_priority,
    checked_record,
    checked_records,
    checked_source,
    checked_top_k,
    checked_uid,
    checked_uids,
    checked_unless_ellipsis,
    checked_weights,
)
from super_advanced_agents.stores.vector_arguments import checked_vector, checked_vectors
from super_advanced_agents.types import Dedupe, JSONValue, Match, Matrix, Metadata, Record, Vector, Weights, Where

R = TypeVar("R", covariant=True)  # noqa: PLC0105  # the type of the result

FilterFn: TypeAlias = Callable[[Metadata], bool]
"""A predicate over metadata; slower than `where`, as it needs each candidate's metadata."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Hold a store's vector dimension and size limits, against which requests are validated."""

    dim: int
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(Generic[R]):
    """Describe one store operation with its arguments; `R` is the type of its result.

    Attributes:
        tenant: the tenant whose records it concerns; empty for the default tenant. Only `TenantView` sets it, never a
            caller.
        number_bytes: the bytes that a number of a vector takes in the answer; only a server sets it.
    """

    tenant: str = field(default="", init=False)
    number_bytes: int = field(default=4, init=False)

    def replaced(self, **changes: Any) -> Self:
        """Return a copy of the request with some fields replaced; the new values are not validated."""
        other = object.__new__(type(self))
        for member in fields(self):
            object.__setattr__(other, member.name, changes.get(member.name, getattr(self, member.name)))
        return other

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteRequest(Request[R]):
    """Describe one store operation that changes records.

    Attributes:
        write_id: identifies the write: a tenant's second request with the same id changes nothing and gets the result
            of the first, for a day; another write with it is refused. None for a write that is not repeated.
    """

    write_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AddRequest(WriteRequest[list[str]]):
    """Hold the validated arguments of `VectorStore.aadd_batch`, which adds or replaces records.

    Attributes:
        vectors: (n, dim) finite float32.
        documents: the metadata of each record in its stored form.
    """

    bounds: InitVar[Bounds]
    vectors: Matrix
    metadatas: Sequence[Metadata | None] | None = None
    uids: Sequence[str | None] | None = None
    namespace: str | None = None
    model_id: str | None = None
    sources: Sequence[str | None] | None = None
    sessions: Sequence[str | None] | None = None
    expires_in_s: Sequence[float | None] | None = None
    priorities: Sequence[float | None] | None = None
    dedupe: Dedupe | None = None
    documents: Sequence[Document] = field(init=False, repr=False, compare=False)

    def __post_init__(self, bounds: Bounds) -> None:
        limits = bounds.limits
        vectors = checked_vectors(self.vectors, bounds.dim, field="vectors", limits=limits)
        n = len(vectors)
        document = partial(checked_document, limits=limits)
        self._set(
            vectors=vectors,
            documents=[
                document(metadata, field=f"metadatas[{i}]")
                for i, metadata in yield_gil(enumerate(checked_list(self.metadatas, n, field="metadatas")))
            ],
            uids=checked_each(self.uids, n, partial(checked_uid, limits=limits), field="uids"),
            namespace=_namespace(self.namespace),
            model_id=checked_model_id(self.model_id),
            sources=checked_each(self.sources, n, checked_source, field="sources"),
            sessions=checked_each(self.sessions, n, checked_source, field="sessions"),
            expires_in_s=checked_each(self.expires_in_s, n, checked_lifetime, field="expires_in_s"),
            priorities=checked_each(self.priorities, n, checked_priority, field="priorities"),
            dedupe=checked_dedupe(self.dedupe),
            write_id=_write_id(self.write_id),
        )

    def with_uids(self) -> Self:
        """Return the request with a generated UUIDv7 for every record that has no uid yet."""
        if self.uids is not None and None not in self.uids:
            return self
        return self.replaced(uids=fill_missing_uids(self.uids, len(self.vectors)))


@dataclass(frozen=True, slots=True, kw_only=True)
class PutRequest(WriteRequest[int]):
    """Hold the validated arguments of `VectorStore.aput`, which stores complete records.

    Attributes:
        vectors: (n, dim) finite float32, the vectors of the records.
        documents: the metadata of each record in its stored form.
    """

    bounds: InitVar[Bounds]
    records: Sequence[Record]
    vectors: Matrix = field(init=False, repr=False, compare=False)
    documents: Sequence[Document] = field(init=False, repr=False, compare=False)

    def __post_init__(self, bounds: Bounds) -> None:
        records = checked_records(self.records)
        self._set(
            vectors=checked_vectors(
                [record.vector for record in records], bounds.dim, field="records", limits=bounds.limits
            ),
            documents=[
                checked_record(record, field=f"records[{i}]", limits=bounds.limits)
                for i, record in yield_gil(enumerate(records))
            ],
            write_id=_write_id(self.write_id),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateRequest(WriteRequest[bool]):
    """Hold the validated arguments of `VectorStore.aupdate`, which changes one record.

    A field that is `...` leaves the record's value as it is.
    """

    bounds: InitVar[Bounds]
    uid: str
    changes: Metadata | None = None
    namespace: str | None = None
    vector: Vector | None = None
    model_id: str | None = None
    source: str | EllipsisType | None = ...
    expires_in_s: float | EllipsisType | None = ...
    priority: float | EllipsisType | None = ...

    def __post_init__(self, bounds: Bounds) -> None:
        checked_document(self.changes, field="changes", limits=bounds.limits)
        self._set(
            uid=checked_uid(self.uid, field="uid", limits=bounds.limits),
            changes=copy.deepcopy(self.changes),
            namespace=_namespace(self.namespace),
            vector=None if self.vector is None else checked_vector(self.vector, bounds.dim, field="vector"),
            model_id=checked_model_id(self.model_id),
            source=checked_unless_ellipsis(self.source, checked_source, field="source"),
            expires_in_s=checked_unless_ellipsis(self.expires_in_s, checked_lifetime, field="expires_in_s"),
            priority=checked_unless_ellipsis(self.priority, checked_priority, field="priority"),
            write_id=_write_id(self.write_id),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRequest(Request[R]):
    """Describe one search with the arguments that every kind of search has.

    Attributes:
        min_similarity: the least similarity of a match's vector to the query's; None for any.
        tree: the parsed `where` filter.
    """

    bounds: InitVar[Bounds]
    top_k: int = 5
    where: Where | None = None
    namespace: str | None = None
    model_id: str | None = None
    min_similarity: float | None = None
    tree: Filter | None = field(init=False, repr=False, compare=False)

    def _check_search(self, bounds: Bounds, *, queries: int = 1) -> None:
        self._set(
            top_k=checked_top_k(self.top_k, limits=bounds.limits, queries=queries),
            tree=_tree(self.where, bounds),
            namespace=_namespace(self.namespace),
            model_id=checked_model_id(self.model_id),
            min_similarity=checked_min_similarity(self.min_similarity),
        )

    def _check_query_text(self, query_text: str, bounds: Bounds) -> None:
        self._set(query_text=checked_text(query_text, "query_text", max_bytes=bounds.limits.text_bytes))


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest(QueryRequest[list[list[Match]]]):
    """Hold the validated arguments of `VectorStore.asearch_batch`, a similarity search.

    Attributes:
        query_vectors: (m, dim) finite float32.
    """

    query_vectors: Matrix
    return_scores: bool = True

    def __post_init__(self, bounds: Bounds) -> None:
        queries = checked_vectors(self.query_vectors, bounds.dim, field="query_vectors", limits=bounds.limits)
        self._set(query_vectors=queries)
        self._check_search(bounds, queries=len(queries))


@dataclass(frozen=True, slots=True, kw_only=True)
class HybridSearchRequest(QueryRequest[list[Match]]):
    """Hold the validated arguments of `VectorStore.asearch_hybrid`, by vector and keywords."""

    query_vector: Vector
    query_text: str
    weights: Weights | None = None
    explain: bool = False

    def __post_init__(self, bounds: Bounds) -> None:
        self._set(query_vector=checked_vector(self.query_vector, bounds.dim, field="query_vector"))
        self._check_query_text(self.query_text, bounds)
        self._check_search(bounds)
        self._set(weights=checked_weights(self.weights))


@dataclass(frozen=True, slots=True, kw_only=True)
class KeywordSearchRequest(QueryRequest[list[Match]]):
    """Hold the validated arguments of `VectorStore.asearch_keywords`, a BM25 search.

    Attributes:
        query_vector: gives matches their similarity, and does not rank them.
    """

    query_text: str
    query_vector: Vector | None = None

    def __post_init__(self, bounds: Bounds) -> None:
        self._check_query_text(self.query_text, bounds)
        self._check_search(bounds)
        if self.query_vector is not None:
            self._set(query_vector=checked_vector(self.query_vector, bounds.dim, field="query_vector"))
        elif self.min_similarity is not None:
            raise InvalidInputError(
                "min_similarity needs the query's vector, which a keyword search does not have",
                field="min_similarity",
                hint="give query_vector, too",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class PredicateSearchRequest(QueryRequest[list[Match]]):
    """Hold the validated arguments of `VectorStore.asearch_with_filter`, with its predicate.

    A predicate is a function, so this request is never sent over a network.
    """

    query_vector: Vector
    filter_fn: FilterFn

    def __post_init__(self, bounds: Bounds) -> None:
        checked_predicate(self.filter_fn)
        self._set(query_vector=checked_vector(self.query_vector, bounds.dim, field="query_vector"))
        self._check_search(bounds)


@dataclass(frozen=True, slots=True, kw_only=True)
class GetRequest(Request[list[Record]]):
    """Hold the validated arguments of `VectorStore.aget`, which reads records by uid."""

    bounds: InitVar[Bounds]
    uids: Sequence[str]
    namespace: str | None = None

    def __post_init__(self, bounds: Bounds) -> None:
        self._set(uids=checked_uids(self.uids, limits=bounds.limits), namespace=_namespace(self.namespace))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteRequest(WriteRequest[int]):
    """Hold the validated arguments of `VectorStore.adelete`, which deletes by uid or filter."""

    bounds: InitVar[Bounds]
    uids: Sequence[str] | None = None
    where: Where | None = None
    namespace: str | None = None
    tree: Filter | None = field(init=False, repr=False, compare=False)

    def __post_init__(self, bounds: Bounds) -> None:
        if self.uids is None and self.where is None:
            raise InvalidInputError("give uids, where, or both", field="uids", hint="where={} deletes every record")
        self._set(
            uids=None if self.uids is None else checked_uids(self.uids, limits=bounds.limits),
            tree=_tree(self.where, bounds),
            namespace=_namespace(self.namespace),
            write_id=_write_id(self.write_id),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CountRequest(Request[int]):
    """Hold the validated arguments of `VectorStore.acount`, which counts matching records."""

    bounds: InitVar[Bounds]
    where: Where | None = None
    namespace: str | None = None
    tree: Filter | None = field(init=False, repr=False, compare=False)

    def __post_init__(self, bounds: Bounds) -> None:
        self._set(tree=_tree(self.where, bounds), namespace=_namespace(self.namespace))


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanRequest(Request[list[Record]]):
    """Hold the validated arguments of `VectorStore.ascan`, which reads a page of records."""

    bounds: InitVar[Bounds]
    where: Where | None = None
    after: str | None = None
    limit: int = 100
    namespace: str | None = None
    tree: Filter | None = field(init=False, repr=False, compare=False)

    def __post_init__(self, bounds: Bounds) -> None:
        self._set(
            tree=_tree(self.where, bounds),
            after=None if self.after is None else checked_uid(self.after, field="after", limits=bounds.limits),
            limit=checked_limit(self.limit, limits=bounds.limits),
            namespace=_namespace(self.namespace),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsRequest(Request[dict[str, JSONValue]]):
    """Describe a call of `VectorStore.astats`, which reads statistics and takes no arguments."""

    bounds: InitVar[Bounds]

    def __post_init__(self, bounds: Bounds) -> None: ...


def _write_id(write_id: str | None) -> str | None:
    return None if write_id is None else checked_name(write_id, "write_id")


def _namespace(namespace: str | None) -> str | None:
    return None if namespace is None else checked_agent_name(namespace, "namespace")


def _tree(where: Where | None, bounds: Bounds) -> Filter | None:
    return None if where is None else parse(where, limits=bounds.limits)
