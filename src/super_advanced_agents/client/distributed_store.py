"""`DistributedVectorStore`: a collection of a served store, used as any other vector store."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

from numpy.typing import ArrayLike

from super_advanced_agents._runtime.sync_bridge import blocking, blocking_iterator, run_sync
from super_advanced_agents.client.batching import CHUNK_ROWS, NewRecord, additions, searches
from super_advanced_agents.client.connection import Connection
from super_advanced_agents.client.remote_store import RemoteVectorStore
from super_advanced_agents.client.transport import RemoteCall
from super_advanced_agents.config import LIMITS, checked_name
from super_advanced_agents.errors import (
    CollectionExistsError,
    CollectionNotFoundError,
    ConfigurationError,
    DimensionMismatchError,
)
from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.protocol.operations import Operation
from super_advanced_agents.protocol.requests import (
    CreateCollectionRequest,
    DeleteCollectionRequest,
    GetCollectionRequest,
)
from super_advanced_agents.stores.options import Metric
from super_advanced_agents.stores.requests import AddRequest, ScanRequest, SearchRequest
from super_advanced_agents.types import CollectionInfo, Dedupe, Match, Record, Where


class DistributedVectorStore(RemoteVectorStore):
    """A client of one collection of a served store, over gRPC or REST.

    It behaves as a store in process does, and raises the same errors; what a server or a network adds is
    `EngineUnavailableError` (no connection, or no answer in time), `AuthenticationError`, `PermissionDeniedError`,
    `RateLimitedError` and `CollectionNotFoundError`. The first use connects, and finds out `dim`.

    Calls that nobody answered, or that the server was too busy for, are made again within `timeout_s`: after 50 ms,
    then after longer and longer pauses, or when the server says. A write made again is the same write: records get
    their uids here, other changes an idempotency key. A cancelled call is cancelled at the server.

    Args:
        url: `"grpc://host:port"`, `"grpcs://host:port"` (TLS), `"http://host:port"` or `"https://host"`.
        collection: its name there.
        api_key: an API key, or a JWT; it goes to this address only, redirects and proxies are not followed.
        timeout_s: seconds for one operation with all its attempts; in streams, for each answer.
        ca_file: certificates (PEM) that a secure server's must come from; the system's when None.
        dim: makes the collection when it is missing, with vectors of this length; one of another length is refused.

    Raises:
        ConfigurationError: an argument is wrong.
        InvalidInputError: `collection` is not a name.
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
        if dim is not None and (type(dim) is not int or not 1 <= dim <= LIMITS.dim):
            raise ConfigurationError(f"dim must be an integer from 1 to {LIMITS.dim}, not {dim!r}")
        connection = Connection(url, api_key=api_key, timeout_s=timeout_s, ca_file=ca_file)
        super().__init__(checked_name(collection, "collection"))
        self._connection = connection
        self._wanted_dim = dim
        self._known: CollectionInfo | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._connection.url!r}, {self._collection!r})"

    @property
    def dim(self) -> int:
        """The length of every vector; the first look may block while the server is asked."""
        return run_sync(self._ainfo()).dim if self._known is None else self._known.dim

    # -- many at once ---------------------------------------------------------------------------------------------

    async def aadd_stream(
        self,
        records: Iterable[NewRecord] | AsyncIterable[NewRecord],
        *,
        namespace: str | None = None,
        model_id: str | None = None,
        dedupe: Dedupe | None = None,
    ) -> AsyncGenerator[str, None]:
        """Add any number of records, in bounded memory.

        Args:
            records: (vector, metadata or None, uid or None), taken as the server keeps up.
            namespace: where to; `"default"` when None.
            model_id: the embedding model that made the vectors.
            dedupe: as for `add_batch`.

        Yields:
            The uids, in order, each as soon as its record is durable. Up to 500 records are stored all or none; an
            error, or leaving early, leaves whole such batches behind, in order, of which the last few may not have been
            told yet.
        """
        self._check_open()
        bounds, options = await self._abounds(), {"namespace": namespace, "model_id": model_id, "dedupe": dedupe}
        requests = additions(records, bounds, self._off_loop, **options)
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
    ) -> AsyncGenerator[list[Match], None]:
        """Search for any number of vectors, in bounded memory; the arguments are those of `search_batch`.

        Yields:
            For each query, in order, what `search` returns.
        """
        self._check_open()
        bounds = await self._abounds()
        requests = searches(query_vectors, bounds, top_k=top_k, where=where, namespace=namespace, model_id=model_id)
        async with (
            aclosing(requests),
            aclosing(self._exchange(ops.SEARCH_STREAM, ops.SEARCH_BATCH, requests)) as answers,
        ):
            async for results in answers:
                for found in results:
                    yield found

    def _exchange(
        self, stream: Operation, single: Operation, requests: AsyncGenerator[AddRequest | SearchRequest, None]
    ) -> AsyncGenerator[Any, None]:
        calls = (RemoteCall(single, self._collection, request) async for request in requests)
        return self._connection.aexchange(stream, single, calls)

    async def ascan_stream(
        self, where: Where | None = None, *, namespace: str | None = None, after: str | None = None
    ) -> AsyncGenerator[Record, None]:
        """All records that match, in the order of their uids, in bounded memory.

        Args:
            where: a filter over metadata; every record when None.
            namespace: only there; everywhere when None.
            after: begin behind this uid.
        """
        self._check_open()
        bounds = await self._abounds()
        request = ScanRequest(bounds=bounds, where=where, after=after, limit=CHUNK_ROWS, namespace=namespace)
        async with aclosing(self._connection.apages(self._collection, request)) as pages:
            async for page in pages:
                for record in page:
                    yield record

    add_stream = blocking_iterator(aadd_stream)
    search_stream = blocking_iterator(asearch_stream)
    scan_stream = blocking_iterator(ascan_stream)

    # -- the collection -------------------------------------------------------------------------------------------

    async def adelete_collection(self) -> bool:
        """Delete the collection with all that is in it; False when there was none.

        A client that was given `dim` makes it anew when it is used again.
        """
        self._check_open()
        try:
            await self._connection.acall(RemoteCall(ops.DELETE_COLLECTION, self._collection, DeleteCollectionRequest()))
        except CollectionNotFoundError:
            return False
        finally:
            self._known = None
        return True

    delete_collection = blocking(adelete_collection)

    # -- the way there --------------------------------------------------------------------------------------------

    async def _acall(self, call: RemoteCall) -> object:
        await self._ainfo()  # which makes the collection where it is to be made
        return await self._connection.acall(call)

    async def _adim(self) -> int:
        return (await self._ainfo()).dim

    async def _ametric(self) -> Metric:
        return cast("Metric", (await self._ainfo()).metric)

    async def _ainfo(self) -> CollectionInfo:
        """What the collection was made with; the server is asked once, by each who asks before it has answered."""
        if self._known is None:
            self._check_open()
            try:
                found = await self._afind()
            except CollectionNotFoundError:
                if self._wanted_dim is None:
                    raise
                found = await self._amake(self._wanted_dim)
            if self._wanted_dim not in {None, found.dim}:
                raise DimensionMismatchError(
                    f"the collection {self._collection!r} holds vectors of {found.dim} numbers, not {self._wanted_dim}",
                    field="dim",
                    hint="leave dim out, or choose another collection",
                )
            self._known = found
        return self._known

    async def _afind(self) -> CollectionInfo:
        call = RemoteCall(ops.GET_COLLECTION, self._collection, GetCollectionRequest())
        return cast("CollectionInfo", await self._connection.acall(call))

    async def _amake(self, dim: int) -> CollectionInfo:
        """Make the collection, unless another client was quicker."""
        request = CreateCollectionRequest(name=self._collection, dim=dim)
        try:
            return cast("CollectionInfo", await self._connection.acall(RemoteCall(ops.CREATE_COLLECTION, "", request)))
        except CollectionExistsError:
            return await self._afind()

    def _release(self) -> None:
        super()._release()
        self._connection.close()
