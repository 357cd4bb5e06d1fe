"""`DistributedVectorStore`: a collection of a served store, used as any other vector store."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import aclosing
from pathlib import Path

from numpy.typing import ArrayLike

from super_advanced_agents._runtime.twins import blocking, blocking_iterator, run_sync
from super_advanced_agents.client.batching import CHUNK_ROWS, NewRecord, additions, named, searches
from super_advanced_agents.client.link import Link
from super_advanced_agents.client.remote_store import RemoteVectorStore, _namespace, _where
from super_advanced_agents.client.rest_requests import STORE
from super_advanced_agents.config import Limits, checked_name
from super_advanced_agents.errors import (
    CollectionExistsError,
    CollectionNotFoundError,
    ConfigurationError,
    DimensionMismatchError,
)
from super_advanced_agents.protocol import methods
from super_advanced_agents.protocol.conversions import dedupe_message, matches_of, records_of
from super_advanced_agents.protocol.methods import Method, Q, R
from super_advanced_agents.protocol.v1 import vector_store_pb2 as messages
from super_advanced_agents.stores.validation import checked_dedupe, checked_model_id, checked_top_k, checked_uid
from super_advanced_agents.types import Dedupe, Match, Record, Where

_LIMITS = Limits()
_MAX_DIM = 65_536


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
        if dim is not None and (type(dim) is not int or not 1 <= dim <= _MAX_DIM):
            raise ConfigurationError(f"dim must be an integer from 1 to {_MAX_DIM}, not {dim!r}")
        link = Link(url, STORE, api_key=api_key, timeout_s=timeout_s, ca_file=ca_file)
        super().__init__(checked_name(collection, "collection"))
        self._link = link
        self._wanted_dim = dim
        self._known_dim = 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._link.url!r}, {self._collection!r})"

    @property
    def dim(self) -> int:
        """The length of every vector; the first look may block while the server is asked."""
        return self._known_dim or run_sync(self._adim())

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
        like = messages.AddRequest(
            collection=self._collection,
            namespace=_namespace(namespace),
            model_id=checked_model_id(model_id),
            dedupe=dedupe_message(checked_dedupe(dedupe)),
            dim=await self._adim(),
        )
        batches = additions(records, like)
        async with (
            aclosing(batches),
            aclosing(self._link.aexchange(methods.ADD_STREAM, methods.ADD, batches)) as answers,
        ):
            async for answer in answers:
                for uid in answer.uids:
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
        like = messages.SearchRequest(
            collection=self._collection,
            namespace=_namespace(namespace),
            model_id=checked_model_id(model_id),
            top_k=checked_top_k(top_k, limits=_LIMITS),
            where=_where(where),
            dim=await self._adim(),
        )
        batches = searches(query_vectors, like)
        async with (
            aclosing(batches),
            aclosing(self._link.aexchange(methods.SEARCH_STREAM, methods.SEARCH, batches)) as answers,
        ):
            async for answer in answers:
                for found in answer.results:
                    yield matches_of(found.matches)

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
        await self._adim()
        request = messages.ScanRequest(
            collection=self._collection,
            namespace=_namespace(namespace),
            where=_where(where),
            after=None if after is None else checked_uid(after, field="after", limits=_LIMITS),
            limit=CHUNK_ROWS,
        )
        async with aclosing(self._link.apages(methods.SCAN_STREAM, methods.SCAN, request)) as pages:
            async for page in pages:
                for record in records_of(page.records):
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
            await self._link.acall(methods.DELETE_COLLECTION, messages.DeleteCollectionRequest(name=self._collection))
        except CollectionNotFoundError:
            return False
        finally:
            self._known_dim = 0
        return True

    delete_collection = blocking(adelete_collection)

    # -- the way there --------------------------------------------------------------------------------------------

    async def _unary(self, method: Method[Q, R], request: Q) -> R:
        if not self._known_dim:
            await self._adim()  # which makes the collection where it is to be made
        if isinstance(request, messages.AddRequest):
            named(request)
        return await self._link.acall(method, request)

    async def _adim(self) -> int:
        """The length of every vector; the server is asked once, by each of those who ask before it has answered."""
        if not self._known_dim:
            self._check_open()
            try:
                found = await self._link.acall(
                    methods.GET_COLLECTION, messages.GetCollectionRequest(name=self._collection)
                )
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
            self._known_dim = found.dim
        return self._known_dim

    async def _amake(self, dim: int) -> messages.Collection:
        """Make the collection, unless another client was quicker."""
        name = self._collection
        try:
            made = messages.CreateCollectionRequest(name=name, dim=dim)
            return await self._link.acall(methods.CREATE_COLLECTION, made)
        except CollectionExistsError:
            return await self._link.acall(methods.GET_COLLECTION, messages.GetCollectionRequest(name=name))

    def _release(self) -> None:
        super()._release()
        self._link.close()
