"""A collection as a `VectorStore` that holds its files open only while it is used."""

from __future__ import annotations

from collections.abc import Sequence
from types import EllipsisType

from numpy.typing import ArrayLike

from super_advanced_agents.stores import FilterFn, VectorStore
from super_advanced_agents.tenancy.catalog import Entry
from super_advanced_agents.tenancy.collection_pool import Collections
from super_advanced_agents.types import CollectionInfo, Dedupe, JSONValue, Match, Metadata, Record, Weights, Where


class CollectionStore(VectorStore):
    """One tenant's collection; every operation is as in `VectorStore`. Closing it leaves the collection as it is.

    Args:
        collections: open.
        tenant: whose.
        entry: from the catalog.

    Once the collection was deleted, every operation raises `CollectionNotFoundError`.
    """

    def __init__(self, collections: Collections, tenant: str, entry: Entry) -> None:
        super().__init__()
        self._collections = collections
        self._tenant = tenant
        self._entry = entry

    @property
    def dim(self) -> int:
        """The length of every vector."""
        return self._entry.info.dim

    @property
    def id(self) -> str:
        """What names it for good: another one of the same name has another."""
        return self._entry.id

    @property
    def info(self) -> CollectionInfo:
        """What it was made with."""
        return self._entry.info

    def version(self, namespace: str | None = None) -> int | None:
        """See `VectorStore.version`; None while its files are not open."""
        self._check_open()
        return self._collections.version(self._entry, namespace)

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
        async with self._collections.using(self._tenant, self._entry) as store:
            return await store.aadd_batch(
                vectors,
                metadatas,
                uids,
                namespace=namespace,
                model_id=model_id,
                sources=sources,
                sessions=sessions,
                expires_in_s=expires_in_s,
                priorities=priorities,
                dedupe=dedupe,
            )

    async def aput(self, records: Sequence[Record]) -> int:
        """See `VectorStore.aput`."""
        self._check_open()
        async with self._collections.using(self._tenant, self._entry) as store:
            return await store.aput(records)

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
        """See `VectorStore.aupdate`."""
        self._check_open()
        async with self._collections.using(self._tenant, self._entry) as store:
            return await store.aupdate(
                uid,
                changes,
                namespace=namespace,
                vector=vector,
                model_id=model_id,
                source=source,
                expires_in_s=expires_in_s,
                priority=priority,
            )

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
        async with self._collections.using(self._tenant, self._entry) as store:
            return await store.asearch_batch(
                query_vectors,
                top_k,
                where=where,
                namespace=namespace,
                model_id=model_id,
                return_scores=return_scores,
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
        self._check_open()
        async with self._collections.using(self._tenant, self._entry) as store:
            return await store.asearch_hybrid(
                query_vector,
                query_text,
                top_k,
                where=where,
                namespace=namespace,
                model_id=model_id,
                weights=weights,
                explain=explain,
            )

    async def asearch_keywords(
        self, query_text: str, top_k: int = 5, *, where: Where | None = None, namespace: str | None = None
    ) -> list[Match]:
        """See `VectorStore.asearch_keywords`."""
        self._check_open()
        async with self._collections.using(self._tenant, self._entry) as store:
            return await store.asearch_keywords(query_text, top_k, where=where, namespace=namespace)

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
        """See `VectorStore.asearch_with_filter`."""
        self._check_open()
        async with self._collections.using(self._tenant, self._entry) as store:
            return await store.asearch_with_filter(
                query_vector, top_k, filter_fn, where=where, namespace=namespace, model_id=model_id
            )

    async def aget(self, uids: Sequence[str], *, namespace: str | None = None) -> list[Record]:
        """See `VectorStore.aget`."""
        self._check_open()
        async with self._collections.using(self._tenant, self._entry) as store:
            return await store.aget(uids, namespace=namespace)

    async def adelete(
        self, uids: Sequence[str] | None = None, *, where: Where | None = None, namespace: str | None = None
    ) -> int:
        """See `VectorStore.adelete`."""
        self._check_open()
        async with self._collections.using(self._tenant, self._entry) as store:
            return await store.adelete(uids, where=where, namespace=namespace)

    async def acount(self, where: Where | None = None, *, namespace: str | None = None) -> int:
        """See `VectorStore.acount`."""
        self._check_open()
        async with self._collections.using(self._tenant, self._entry) as store:
            return await store.acount(where, namespace=namespace)

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
        async with self._collections.using(self._tenant, self._entry) as store:
            return await store.ascan(where, after=after, limit=limit, namespace=namespace)

    async def astats(self) -> dict[str, JSONValue]:
        """Counters and sizes of the collection alone; where it lies on this machine is nobody's business."""
        self._check_open()
        async with self._collections.using(self._tenant, self._entry) as store:
            stats = await store.astats()
        return {name: value for name, value in stats.items() if name != "path"}

    def _release(self) -> None:
        """Nothing to free: the files are the server's."""
