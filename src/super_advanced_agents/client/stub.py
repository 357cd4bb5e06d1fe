"""`DistributedVectorStoreStub`: a distributed store's client over an in-process loopback: real encoding, no socket."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from types import EllipsisType
from typing import cast

from numpy.typing import ArrayLike

from super_advanced_agents.config import Limits
from super_advanced_agents.errors import SuperAdvancedAgentsError
from super_advanced_agents.protocol.frames import Value, decoded, decoded_error, encoded, encoded_error
from super_advanced_agents.stores import FilterFn, VectorStore
from super_advanced_agents.stores.filters import parse
from super_advanced_agents.stores.validation import (
    checked_document,
    checked_list,
    checked_matrix,
    checked_predicate,
    checked_records,
    checked_top_k,
    checked_weights,
    unit_rows,
)
from super_advanced_agents.types import Dedupe, JSONValue, Match, Metadata, Record, Weights, Where

_OPERATIONS = frozenset(
    {
        "aadd_batch", "aput", "aupdate", "asearch_batch", "asearch_hybrid", "asearch_keywords",
        "aget", "adelete", "acount", "ascan", "astats",
    }
)  # fmt: skip
_LIMITS = Limits()
_RANKED_FIRST = 1_000
_PAGE = 500


class _Loopback:
    """The serving end: decodes a call, carries it out, encodes the result or the error."""

    def __init__(self, store: VectorStore) -> None:
        self._store = store

    async def handle(self, frame: bytes) -> tuple[bool, bytes]:
        """Whether it went well, and the reply."""
        try:
            operation, arguments = cast("tuple[str, dict[str, object]]", decoded(frame))
            if operation not in _OPERATIONS:
                raise SuperAdvancedAgentsError(f"unknown operation {operation!r}")
            if arguments.get("weights") is not None:
                arguments["weights"] = Weights(**cast("dict[str, float]", arguments["weights"]))
            return True, encoded(await getattr(self._store, operation)(**arguments))
        except SuperAdvancedAgentsError as exc:
            return False, encoded_error(exc)


class DistributedVectorStoreStub(VectorStore):
    """A client of `store` that encodes every call and decodes every answer as if a network lay between.

    For tests, and for code that is to run against a served store later: whatever works here needs nothing in process.
    Closing the stub leaves the store open.
    """

    def __init__(self, store: VectorStore) -> None:
        super().__init__()
        self._dim = store.dim
        self._served = _Loopback(store)

    @property
    def dim(self) -> int:
        """The length of every vector."""
        return self._dim

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
        matrix = checked_matrix(vectors, self._dim, field="vectors")
        for i, metadata in enumerate(checked_list(metadatas, len(matrix), field="metadatas")):
            checked_document(metadata, field=f"metadatas[{i}]", limits=_LIMITS)  # what is not JSON cannot travel
        return cast(
            "list[str]",
            await self._call(
                "aadd_batch",
                vectors=matrix,
                metadatas=metadatas,
                uids=uids,
                namespace=namespace,
                model_id=model_id,
                sources=sources,
                sessions=sessions,
                expires_in_s=expires_in_s,
                priorities=priorities,
                dedupe=dedupe,
            ),
        )

    async def aput(self, records: Sequence[Record]) -> int:
        """See `VectorStore.aput`."""
        for i, record in enumerate(checked_records(records)):
            checked_document(record.metadata, field=f"records[{i}].metadata", limits=_LIMITS)
            checked_matrix([record.vector], self._dim, field=f"records[{i}].vector")
        return cast("int", await self._call("aput", records=records))

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
        checked_document(changes, field="changes", limits=_LIMITS)
        arguments: dict[str, object] = {"source": source, "expires_in_s": expires_in_s, "priority": priority}
        if vector is not None:
            arguments["vector"] = checked_matrix([vector], self._dim, field="vector")[0]
        named = {name: value for name, value in arguments.items() if value is not ...}
        updated = await self._call("aupdate", uid=uid, changes=changes, namespace=namespace, model_id=model_id, **named)
        return cast("bool", updated)

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
        return cast(
            "list[list[Match]]",
            await self._call(
                "asearch_batch",
                query_vectors=checked_matrix(query_vectors, self._dim, field="query_vectors"),
                top_k=top_k,
                where=where,
                namespace=namespace,
                model_id=model_id,
                return_scores=return_scores,
            ),
        )

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
        return cast(
            "list[Match]",
            await self._call(
                "asearch_hybrid",
                query_vector=checked_matrix([query_vector], self._dim, field="query_vector")[0],
                query_text=query_text,
                top_k=top_k,
                where=where,
                namespace=namespace,
                model_id=model_id,
                weights=asdict(checked_weights(weights)),
                explain=explain,
            ),
        )

    async def asearch_keywords(
        self, query_text: str, top_k: int = 5, *, where: Where | None = None, namespace: str | None = None
    ) -> list[Match]:
        """See `VectorStore.asearch_keywords`."""
        found = await self._call(
            "asearch_keywords", query_text=query_text, top_k=top_k, where=where, namespace=namespace
        )
        return cast("list[Match]", found)

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
        query = unit_rows(checked_matrix([query_vector], self._dim, field="query_vector"), field="query_vector")[0]
        ranked: list[Match] = []
        after: str | None = None
        while page := await self.ascan(where, after=after, limit=_PAGE, namespace=namespace):
            after = page[-1].uid
            kept = [record for record in page if filter_fn(record.metadata)]
            if kept:
                scores = (
                    unit_rows(
                        checked_matrix([record.vector for record in kept], self._dim, field="vectors"), field="vectors"
                    )
                    @ query
                )
                ranked += [Match(r.metadata, float(s), r.uid) for r, s in zip(kept, scores, strict=True)]
        return sorted(ranked, key=lambda match: -match.score)[:top_k]

    async def aget(self, uids: Sequence[str], *, namespace: str | None = None) -> list[Record]:
        """See `VectorStore.aget`."""
        return cast("list[Record]", await self._call("aget", uids=uids, namespace=namespace))

    async def adelete(
        self, uids: Sequence[str] | None = None, *, where: Where | None = None, namespace: str | None = None
    ) -> int:
        """See `VectorStore.adelete`."""
        return cast("int", await self._call("adelete", uids=uids, where=where, namespace=namespace))

    async def acount(self, where: Where | None = None, *, namespace: str | None = None) -> int:
        """See `VectorStore.acount`."""
        return cast("int", await self._call("acount", where=where, namespace=namespace))

    async def ascan(
        self,
        where: Where | None = None,
        *,
        after: str | None = None,
        limit: int = 100,
        namespace: str | None = None,
    ) -> list[Record]:
        """See `VectorStore.ascan`."""
        page = await self._call("ascan", where=where, after=after, limit=limit, namespace=namespace)
        return cast("list[Record]", page)

    async def astats(self) -> dict[str, JSONValue]:
        """See `VectorStore.astats`."""
        return cast("dict[str, JSONValue]", await self._call("astats"))

    async def _call(self, operation: str, **arguments: object) -> Value:
        self._check_open()
        where = arguments.get("where")
        if where is not None:
            parse(cast("Where", where))  # what is no filter cannot travel either
        went_well, reply = await self._served.handle(encoded([operation, cast("dict[str, Value]", arguments)]))
        if not went_well:
            raise decoded_error(reply)
        return decoded(reply)

    def _release(self) -> None:
        """Nothing to free: the store belongs to whoever made it."""
