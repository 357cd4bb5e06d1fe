"""`DistributedVectorStore`, a client that uses one collection of a server as a vector store."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import aclosing
from pathlib import Path
from typing import TypeVar, cast

from numpy.typing import ArrayLike

from super_advanced_agents._runtime.concurrency.sync_bridge import blocking, blocking_iterator, run_sync
from super_advanced_agents.client.batching import CHUNK_ROWS, NewRecord, add_requests, search_requests
from super_advanced_agents.client.stores.remote_store import RemoteVectorStore
from super_advanced_agents.client.transports.base import RemoteCall
from super_advanced_agents.client.transports.connection import Connection
from super_advanced_agents.config import LIMITS, checked_name
from super_advanced_agents.errors import (
    CollectionExistsError,
    CollectionNotFoundError,
    DimensionMismatchError,
)
from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.protocol.operations import Operation
from super_advanced_agents.protocol.requests import (
    CreateCollectionRequest,
    DeleteCollectionRequest,
    GetCollectionRequest,
)
from super_advanced_agents.stores.options import Metric, check_integer
from super_advanced_agents.stores.requests import Request, ScanRequest
from super_advanced_agents.types import CollectionInfo, Dedupe, Match, Record, Where

R = TypeVar("R")


class DistributedVectorStore(RemoteVectorStore):
    """Use a collection (a named set of records) of a server as a vector store.

    It calls the server over gRPC or REST.

    It behaves as a store in process does, and raises the same errors. A server and a network add
    `EngineUnavailableError` (no connection, or no answer in time), `AuthenticationError`, `PermissionDeniedError`,
    `RateLimitedError` and `CollectionNotFoundError`. The first use connects, and reads `dim` from the server.

    Calls are retried within `timeout_s` when the server cannot be reached or is too busy: after 50 ms, then with
    growing pauses, or after the server's `Retry-After`. A repeated write is carried out once: it
    carries an id by which the server knows it. Cancelling a call cancels it at the server.

    Args:
        url: `"grpc://host:port"`, `"grpcs://host:port"` (TLS), `"http://host:port"` or `"https://host"`.
        collection: the collection's name at the server.
        api_key: an API key or a JWT; it is sent to this address only, since redirects and proxies are not followed.
        timeout_s: seconds for one operation with all its attempts; in streams, for each answer.
        ca_file: the certificates (PEM) of the trusted authorities; the system's when None.
        dim: creates a missing collection with vectors of this length; a collection of another length is refused.

    Raises:
        ConfigurationError: an argument is wrong.
        InvalidInputError: `collection` is not a valid name.
    """

    def __init__(
        self,
        url: str,
        collection: str = "default",
        *,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        ca_file: str | Path | None = None,
        dim: int | None = None,
    ) -> None:
        if dim is not None:
            check_integer("dim", dim, 1, LIMITS.dim)
        connection = Connection(url, api_key=api_key, timeout_s=timeout_s, ca_file=ca_file)
        super().__init__(checked_name(collection, "collection"))
        self._connection = connection
        self._requested_dim = dim
        self._info: CollectionInfo | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._connection.url!r}, {self._collection!r})"

    @property
    def dim(self) -> int:
        """The dimension of the collection's vectors; reading it may block on a call to the server."""
        return run_sync(self._acollection_info()).dim if self._info is None else self._info.dim

    # -- streams --------------------------------------------------------------------------------------------------

    async def aadd_stream(
        self,
        records: Iterable[NewRecord] | AsyncIterable[NewRecord],
        *,
        namespace: str | None = None,
        model_id: str | None = None,
        dedupe: Dedupe | None = None,
    ) -> AsyncGenerator[str, None]:
        """Add records from an iterable in batches, and yield each uid once its record is durable.

        Memory use is bounded for any number of records.

        Args:
            records: (vector, metadata or None, uid or None), taken as the server keeps up.
            namespace: the namespace of the records; `"default"` when None.
            model_id: the embedding model of the vectors.
            dedupe: the rule for duplicates, as for `add_batch`.

        Yields:
            The uids, in order, each as soon as its record is durable. Batches of up to 500 records are stored all or
            none. After an error, or when the caller stops early, the batches stored so far remain, in order, even those
            whose uids were not yielded yet.
        """
        self._check_open()
        bounds, options = await self._abounds(), {"namespace": namespace, "model_id": model_id, "dedupe": dedupe}
        requests = add_requests(records, bounds, self.acompute, **options)
        async with aclosing(requests), aclosing(self._exchange(ops.ADD_STREAM, ops.ADD, requests)) as answers:
            async for uids in answers:
                for uid in uids:
                    yield uid

    async def asearch_stream(
        self,
        query_vectors: Iterable[ArrayLike] | AsyncIterable[ArrayLike],
        top_k: int = 5,
        *,
        where: Where | None = None,
        namespace: str | None = None,
        model_id: str | None = None,
        min_similarity: float | None = None,
    ) -> AsyncGenerator[list[Match], None]:
        """Search with each query vector of an iterable, and yield the matches of each, in order.

        Memory use is bounded for any number of queries.

        Args:
            query_vectors: the queries, taken as the server keeps up.
            top_k: the number of matches for each query.
            where: a filter over metadata; every record when None.
            namespace: the namespace to search; all when None.
            model_id: the embedding model of the queries.
            min_similarity: leaves out what is less similar to the query.

        Yields:
            The matches of each query, best first, in the order of the queries.
        """
        self._check_open()
        bounds = await self._abounds()
        requests = search_requests(
            query_vectors,
            bounds,
            top_k=top_k,
            where=where,
            namespace=namespace,
            model_id=model_id,
            min_similarity=min_similarity,
        )
        async with (
            aclosing(requests),
            aclosing(self._exchange(ops.SEARCH_STREAM, ops.SEARCH_BATCH, requests)) as answers,
        ):
            async for results in answers:
                for matches in results:
                    yield matches

    def _exchange(
        self, stream: Operation, single: Operation, requests: AsyncGenerator[Request[R], None]
    ) -> AsyncGenerator[R, None]:
        calls = (RemoteCall(single, self._collection, request) async for request in requests)
        return self._connection.aexchange(stream, single, calls)

    async def ascan_stream(
        self, where: Where | None = None, *, namespace: str | None = None, after: str | None = None
    ) -> AsyncGenerator[Record, None]:
        """Yield all records that match a metadata filter, in uid order, fetched page by page.

        Memory use is bounded for any number of records.

        Args:
            where: a filter over metadata; every record when None.
            namespace: the namespace to scan; all when None.
            after: begin after this uid.
        """
        self._check_open()
        bounds = await self._abounds()
        request = ScanRequest(bounds=bounds, where=where, after=after, limit=CHUNK_ROWS, namespace=namespace)
        async with aclosing(self._connection.ascan_pages(self._collection, request)) as pages:
            async for page in pages:
                for record in page:
                    yield record

    add_stream = blocking_iterator(aadd_stream)
    search_stream = blocking_iterator(asearch_stream)
    scan_stream = blocking_iterator(ascan_stream)

    # -- the collection -------------------------------------------------------------------------------------------

    async def adelete_collection(self) -> bool:
        """Delete this collection and its records from the server; return False if it is missing.

        A client that was made with `dim` creates the collection again at its next use.
        """
        self._check_open()
        try:
            await self._connection.acall(RemoteCall(ops.DELETE_COLLECTION, self._collection, DeleteCollectionRequest()))
        except CollectionNotFoundError:
            return False
        finally:
            self._info = None
        return True

    delete_collection = blocking(adelete_collection)

    # -- calls ----------------------------------------------------------------------------------------------------

    async def _acall(self, call: RemoteCall[R]) -> R:
        await self._acollection_info()  # creates a missing collection where `dim` was given
        return await self._connection.acall(call)

    async def _adim(self) -> int:
        return (await self._acollection_info()).dim

    async def _ametric(self) -> Metric:
        return cast("Metric", (await self._acollection_info()).metric)

    async def _acollection_info(self) -> CollectionInfo:
        # concurrent first calls may each ask the server; they get the same answer
        if self._info is None:
            self._check_open()
            try:
                info = await self._aget_collection()
            except CollectionNotFoundError:
                if self._requested_dim is None:
                    raise
                info = await self._acreate(self._requested_dim)
            if self._requested_dim not in {None, info.dim}:
                raise DimensionMismatchError(
                    f"collection {self._collection!r} holds vectors of {info.dim} numbers, not {self._requested_dim}",
                    field="dim",
                    hint="leave dim out, or choose another collection",
                )
            self._info = info
        return self._info

    async def _aget_collection(self) -> CollectionInfo:
        call = RemoteCall(ops.GET_COLLECTION, self._collection, GetCollectionRequest())
        return await self._connection.acall(call)

    async def _acreate(self, dim: int) -> CollectionInfo:
        request = CreateCollectionRequest(name=self._collection, dim=dim)
        try:
            return await self._connection.acall(RemoteCall(ops.CREATE_COLLECTION, "", request))
        except CollectionExistsError:  # another client was quicker
            return await self._aget_collection()

    def _release(self) -> None:
        super()._release()
        self._connection.close()
