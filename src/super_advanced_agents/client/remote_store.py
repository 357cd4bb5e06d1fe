"""A vector store that is somewhere else: every operation becomes a message and every reply a value again.

What carries the messages is a subclass's: a loopback, gRPC, or whatever else can carry the protocol.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from types import EllipsisType

from numpy.typing import ArrayLike

from super_advanced_agents.config import Limits, checked_name, checked_text
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.protocol import methods
from super_advanced_agents.protocol.conversions import (
    dedupe_message,
    json_bytes,
    matches_of,
    numbers_column,
    packed,
    record_message,
    records_of,
    stats_of,
    texts_column,
    weights_message,
    where_bytes,
)
from super_advanced_agents.protocol.methods import Method, Q, R
from super_advanced_agents.protocol.v1 import vector_store_pb2 as messages
from super_advanced_agents.stores import FilterFn, VectorStore
from super_advanced_agents.stores.filters import parse
from super_advanced_agents.stores.validation import (
    checked_dedupe,
    checked_document,
    checked_list,
    checked_matrix,
    checked_model_id,
    checked_place,
    checked_predicate,
    checked_priority,
    checked_records,
    checked_source,
    checked_time,
    checked_top_k,
    checked_uid,
    checked_weights,
    expiry,
    unit_rows,
)
from super_advanced_agents.types import Dedupe, JSONValue, Match, Metadata, Record, Weights, Where

_LIMITS = Limits()
_RANKED_FIRST = 1_000
_PAGE = 500
_CHANGEABLE = ("source", "expires_in_s", "priority")


class RemoteVectorStore(VectorStore):
    """A client of one collection of a served store; `VectorStore` says what the operations do.

    What cannot travel is refused here, with the errors of a store in process; how large a call may be is the server's
    to say. A subclass carries messages.

    Args:
        collection: the collection's name.
    """

    def __init__(self, collection: str) -> None:
        super().__init__()
        self._collection = collection

    @abstractmethod
    async def _unary(self, method: Method[Q, R], request: Q) -> R:
        """Have one request answered; what the server refuses is raised as the error of the tree that it was there."""

    async def _adim(self) -> int:
        """The length of every vector, asked of the server where that was not done yet."""
        return self.dim

    async def aadd_batch(
        self,
        vectors: ArrayLike | Sequence[ArrayLike],
        metadatas: Sequence[Metadata | None] | None = None,
        uids: Sequence[str | None] | None = None,
        *,
        namespace: str | None = None,
        model_id: str | None = None,
        sources: Sequence[str | None] | None = None,
        sessions: Sequence[str | None] | None = None,
        expires_in_s: Sequence[float | None] | None = None,
        priorities: Sequence[float | None] | None = None,
        dedupe: Dedupe | None = None,
    ) -> list[str]:
        """See `VectorStore.aadd_batch`."""
        self._check_open()
        dim = await self._adim()
        matrix = checked_matrix(vectors, dim, field="vectors")
        n = len(matrix)
        request = messages.AddRequest(
            collection=self._collection,
            namespace=_namespace(namespace),
            model_id=checked_model_id(model_id),
            dim=dim,
            vectors=packed(matrix),
            metadatas=_metadatas(metadatas, n),
            uids=_texts(uids, n, "uids", partial(checked_uid, limits=_LIMITS)),
            sources=_texts(sources, n, "sources", checked_source),
            sessions=_texts(sessions, n, "sessions", checked_source),
            expires_in_s=_numbers(expires_in_s, n, "expires_in_s", partial(expiry, now=0.0)),
            priorities=_numbers(priorities, n, "priorities", checked_priority),
            dedupe=dedupe_message(checked_dedupe(dedupe)),
        )
        return list((await self._unary(methods.ADD, request)).uids)

    async def aput(self, records: Sequence[Record]) -> int:
        """See `VectorStore.aput`."""
        self._check_open()
        dim = await self._adim()
        for i, record in enumerate(checked_records(records)):
            _check_record(record, dim, f"records[{i}]")
        request = messages.PutRequest(
            collection=self._collection,
            records=[record_message(record, field=f"records[{i}]") for i, record in enumerate(records)],
        )
        return (await self._unary(methods.PUT, request)).stored

    async def aupdate(
        self,
        uid: str,
        changes: Metadata | None = None,
        *,
        namespace: str | None = None,
        vector: ArrayLike | None = None,
        model_id: str | None = None,
        source: str | EllipsisType | None = ...,
        expires_in_s: float | EllipsisType | None = ...,
        priority: float | EllipsisType | None = ...,
    ) -> bool:
        """See `VectorStore.aupdate`. What stays as it is does not travel."""
        self._check_open()
        checked_document(changes, field="changes", limits=_LIMITS)
        given = dict(zip(_CHANGEABLE, (source, expires_in_s, priority), strict=True))
        named = {name: value for name, value in given.items() if value is not ... and value is not None}
        checked_source(named.get("source"), field="source")
        expiry(named.get("expires_in_s"), now=0.0, field="expires_in_s")
        checked_priority(named.get("priority"), field="priority")
        request = messages.UpdateRequest(
            collection=self._collection,
            namespace=_namespace(namespace),
            uid=checked_uid(uid, field="uid", limits=_LIMITS),
            changes=None if changes is None else json_bytes(changes, field="changes"),
            vector=None if vector is None else await self._packed([vector], "vector"),
            model_id=checked_model_id(model_id),
            clear=[name for name, value in given.items() if value is None],
            **named,  # type: ignore[arg-type]  # they were checked
        )
        return (await self._unary(methods.UPDATE, request)).updated

    async def asearch_batch(
        self,
        query_vectors: ArrayLike | Sequence[ArrayLike],
        top_k: int = 5,
        *,
        where: Where | None = None,
        namespace: str | None = None,
        model_id: str | None = None,
        return_scores: bool = True,
    ) -> list[list[Match]]:
        """See `VectorStore.asearch_batch`."""
        self._check_open()
        request = messages.SearchRequest(
            collection=self._collection,
            namespace=_namespace(namespace),
            model_id=checked_model_id(model_id),
            dim=await self._adim(),
            query_vectors=await self._packed(query_vectors, "query_vectors"),
            top_k=checked_top_k(top_k, limits=_LIMITS),
            where=_where(where),
            omit_scores=not return_scores,
        )
        return [matches_of(each.matches) for each in (await self._unary(methods.SEARCH, request)).results]

    async def asearch_hybrid(
        self,
        query_vector: ArrayLike,
        query_text: str,
        top_k: int = 5,
        *,
        where: Where | None = None,
        namespace: str | None = None,
        model_id: str | None = None,
        weights: Weights | None = None,
        explain: bool = False,
    ) -> list[Match]:
        """See `VectorStore.asearch_hybrid`."""
        self._check_open()
        request = messages.SearchHybridRequest(
            collection=self._collection,
            namespace=_namespace(namespace),
            model_id=checked_model_id(model_id),
            query_vector=await self._packed([query_vector], "query_vector"),
            query_text=checked_text(query_text, "query_text", max_bytes=_LIMITS.text_bytes),
            top_k=checked_top_k(top_k, limits=_LIMITS),
            where=_where(where),
            weights=None if weights is None else weights_message(checked_weights(weights)),
            explain=explain,
        )
        return matches_of((await self._unary(methods.SEARCH_HYBRID, request)).matches)

    async def asearch_keywords(
        self, query_text: str, top_k: int = 5, *, where: Where | None = None, namespace: str | None = None
    ) -> list[Match]:
        """See `VectorStore.asearch_keywords`."""
        self._check_open()
        request = messages.SearchKeywordsRequest(
            collection=self._collection,
            namespace=_namespace(namespace),
            query_text=checked_text(query_text, "query_text", max_bytes=_LIMITS.text_bytes),
            top_k=checked_top_k(top_k, limits=_LIMITS),
            where=_where(where),
        )
        return matches_of((await self._unary(methods.SEARCH_KEYWORDS, request)).matches)

    async def asearch_with_filter(
        self,
        query_vector: ArrayLike,
        top_k: int,
        filter_fn: FilterFn,
        *,
        where: Where | None = None,
        namespace: str | None = None,
        model_id: str | None = None,
    ) -> list[Match]:
        """See `VectorStore.asearch_with_filter`. A predicate cannot travel, so it is asked here.

        It sees the best 1,000 first; should fewer than `top_k` of them pass, every record is fetched, page by page.
        """
        checked_predicate(filter_fn)
        checked_top_k(top_k, limits=_LIMITS)
        best = await self.asearch(query_vector, _RANKED_FIRST, where=where, namespace=namespace, model_id=model_id)
        passed = [match for match in best if filter_fn(match.metadata)]
        if len(passed) >= top_k or len(best) < _RANKED_FIRST:
            return passed[:top_k]
        dim = await self._adim()
        query = unit_rows(checked_matrix([query_vector], dim, field="query_vector"), field="query_vector")[0]
        ranked: list[Match] = []
        after: str | None = None
        while page := await self.ascan(where, after=after, limit=_PAGE, namespace=namespace):
            after = page[-1].uid
            kept = [record for record in page if filter_fn(record.metadata)]
            if kept:
                rows = checked_matrix([record.vector for record in kept], dim, field="vectors")
                scores = unit_rows(rows, field="vectors") @ query
                ranked += [Match(r.metadata, float(s), r.uid) for r, s in zip(kept, scores, strict=True)]
        return sorted(ranked, key=lambda match: -match.score)[:top_k]

    async def aget(self, uids: Sequence[str], *, namespace: str | None = None) -> list[Record]:
        """See `VectorStore.aget`."""
        self._check_open()
        request = messages.GetRequest(collection=self._collection, namespace=_namespace(namespace), uids=_names(uids))
        return records_of((await self._unary(methods.GET, request)).records)

    async def adelete(
        self, uids: Sequence[str] | None = None, *, where: Where | None = None, namespace: str | None = None
    ) -> int:
        """See `VectorStore.adelete`."""
        self._check_open()
        request = messages.DeleteRequest(
            collection=self._collection,
            namespace=_namespace(namespace),
            uids=None if uids is None else _names(uids),
            by_uids=uids is not None,
            where=_where(where),
        )
        return (await self._unary(methods.DELETE, request)).deleted

    async def acount(self, where: Where | None = None, *, namespace: str | None = None) -> int:
        """See `VectorStore.acount`."""
        self._check_open()
        request = messages.CountRequest(
            collection=self._collection, namespace=_namespace(namespace), where=_where(where)
        )
        return (await self._unary(methods.COUNT, request)).count

    async def ascan(
        self,
        where: Where | None = None,
        *,
        after: str | None = None,
        limit: int = 100,
        namespace: str | None = None,
    ) -> list[Record]:
        """See `VectorStore.ascan`."""
        self._check_open()
        request = messages.ScanRequest(
            collection=self._collection,
            namespace=_namespace(namespace),
            where=_where(where),
            after=None if after is None else checked_uid(after, field="after", limits=_LIMITS),
            limit=_limit(limit),
        )
        return records_of((await self._unary(methods.SCAN, request)).records)

    async def astats(self) -> dict[str, JSONValue]:
        """See `VectorStore.astats`."""
        self._check_open()
        return stats_of(await self._unary(methods.STATS, messages.StatsRequest(collection=self._collection)))

    async def _packed(self, vectors: ArrayLike | Sequence[ArrayLike], field: str) -> bytes:
        return packed(checked_matrix(vectors, await self._adim(), field=field))


def _namespace(namespace: str | None) -> str | None:
    return None if namespace is None else checked_name(namespace, "namespace")


def _where(where: Where | None) -> bytes | None:
    if where is None:
        return None
    parse(where)  # what is no filter cannot travel either
    return where_bytes(where)


def _limit(limit: int) -> int:
    if type(limit) is not int or not 1 <= limit <= _LIMITS.batch_records:
        raise InvalidInputError(
            f"limit must be an integer from 1 to {_LIMITS.batch_records}, not {limit!r}", field="limit"
        )
    return limit


def _names(uids: Sequence[str]) -> list[str]:
    if isinstance(uids, str) or not isinstance(uids, Sequence):
        raise InvalidInputError("uids must be a list of strings", field="uids", hint="put a single uid in a list")
    return [checked_uid(uid, field=f"uids[{i}]", limits=_LIMITS) for i, uid in enumerate(uids)]


def _metadatas(metadatas: Sequence[Metadata | None] | None, n: int) -> list[bytes] | None:
    """A column of metadata; what is not JSON cannot travel."""
    if metadatas is None:
        return None
    column = []
    for i, metadata in enumerate(checked_list(metadatas, n, field="metadatas")):
        document = checked_document(metadata, field=f"metadatas[{i}]", limits=_LIMITS)
        column.append(document.json if document.text is None else json_bytes(metadata, field=f"metadatas[{i}]"))
    return column


def _texts(
    values: Sequence[str | None] | None, n: int, field: str, check: Callable[..., str | None]
) -> list[str] | None:
    if values is None:
        return None
    given = checked_list(values, n, field=field)
    return texts_column([None if each is None else check(each, field=f"{field}[{i}]") for i, each in enumerate(given)])


def _numbers(
    values: Sequence[float | None] | None, n: int, field: str, check: Callable[..., float | None]
) -> list[float] | None:
    if values is None:
        return None
    given = checked_list(values, n, field=field)
    return numbers_column([check(each, field=f"{field}[{i}]") for i, each in enumerate(given)])


def _check_record(record: Record, dim: int, field: str) -> None:
    """Refuse what has no place in a message; the server looks at the rest."""
    checked_document(record.metadata, field=f"{field}.metadata", limits=_LIMITS)
    checked_matrix([record.vector], dim, field=f"{field}.vector")
    checked_uid(record.uid, field=f"{field}.uid", limits=_LIMITS)
    checked_name(record.namespace, f"{field}.namespace")
    checked_model_id(record.model_id, field=f"{field}.model_id")
    checked_source(record.source, field=f"{field}.source")
    checked_source(record.session, field=f"{field}.session")
    for name in ("created_at", "updated_at"):
        checked_time(getattr(record, name), field=f"{field}.{name}")
    if record.expires_at is not None:
        checked_time(record.expires_at, field=f"{field}.expires_at")
    checked_priority(record.priority, field=f"{field}.priority")
    checked_place(record.place, field=f"{field}.place")
