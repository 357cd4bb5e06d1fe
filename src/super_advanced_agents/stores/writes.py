"""The writing operations of `VectorStore`: add, put, update and delete."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import EllipsisType
from typing import cast

from numpy.typing import ArrayLike

from super_advanced_agents._runtime.concurrency.sync_bridge import blocking
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.stores.executor import RequestExecutor
from super_advanced_agents.stores.requests import AddRequest, DeleteRequest, PutRequest, UpdateRequest
from super_advanced_agents.stores.vector_arguments import length
from super_advanced_agents.types import Dedupe, Matrix, Metadata, Record, Vector, Where


class WriteOperations(RequestExecutor):
    """Add, replace, update and delete records; a base class of `VectorStore`."""

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
        """Add or replace records in one transaction, and return their uids.

        The records are durable when the call returns; either all of them are stored or none.

        Args:
            vectors: (n, dim) finite numbers, stored as float32; no row may be zero when the metric is cosine.
            metadatas: n JSON objects; None stands for `{}`.
            uids: n uids. A record with the same uid in the namespace is replaced and keeps its creation time; of equal
                uids in one batch the last wins. For None the store makes a time-ordered uid (UUIDv7).
            namespace: the namespace to write to; `"default"` when None.
            model_id: the embedding model of the vectors, stored with each record; no check when None. All vectors of a
                namespace are of one model: the first one added, until no record of it is left.
            sources: n origins of the records, such as a file or a URL.
            sessions: n conversations that the records are turns of, in the order of the turns. A keyword or hybrid
                search also finds a turn through its neighbours. A replaced turn keeps its place.
            expires_in_s: n lifetimes in seconds; an expired record is never returned.
            priorities: n finite numbers: how much each record matters, for searches whose `Weights` count it.
            dedupe: `"exact"` skips a record when the namespace already holds one with the same content, and returns the
                uid of that record, which stays as it is. The content is the text and the rest of the metadata (and the
                vector, where there is no text), not the source, session, lifetime or priority. Writes are compared one
                after the other, so of equal records added concurrently or in one batch only one is stored. A record
                whose uid exists always replaces that record.

        Returns:
            The n uids, in order.

        Raises:
            DimensionMismatchError: a vector has another length than `dim`.
            ModelMismatchError: the namespace holds vectors of another model; nothing was stored.
            StoreFullError: the disk is full; nothing was stored.
        """
        return await self._perform(
            lambda bounds: AddRequest(
                bounds=bounds,
                vectors=cast("Matrix", vectors),  # validation makes it one
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
            length(vectors),
        )

    async def aadd(
        self,
        vector: ArrayLike,
        metadata: Metadata | None = None,
        uid: str | None = None,
        *,
        namespace: str | None = None,
        model_id: str | None = None,
        source: str | None = None,
        session: str | None = None,
        expires_in_s: float | None = None,
        priority: float | None = None,
        dedupe: Dedupe | None = None,
    ) -> str:
        """Add or replace one record, and return its uid.

        Writes of concurrent callers share a commit. Arguments and errors are those of `aadd_batch`, for one record
        with a (dim,) `vector`.
        """
        with _named_for_one():
            uids = await self.aadd_batch(
                [vector],
                [metadata],
                None if uid is None else [uid],
                namespace=namespace,
                model_id=model_id,
                sources=None if source is None else [source],
                sessions=None if session is None else [session],
                expires_in_s=None if expires_in_s is None else [expires_in_s],
                priorities=None if priority is None else [priority],
                dedupe=dedupe,
            )
        return uids[0]

    async def aput(self, records: Sequence[Record]) -> int:
        """Store complete `Record` objects in one transaction, and return the number stored.

        This restores an export: every field is stored as it is, times and places in sessions included, so turns get
        the neighbours they had, independent of the order of the calls. A record with the same uid and namespace is
        replaced; of equal ones in one call the last wins. Expired records are left out. The records are durable when
        the call returns; either all of them are stored or none.

        Args:
            records: records of any namespaces, at most the store's `batch_records` limit. A turn without `place` goes
                to the end of its session.

        Returns:
            The number of records stored.

        Raises:
            DimensionMismatchError: a vector has another length than `dim`.
            ModelMismatchError: a namespace would hold vectors of two models.
            StoreFullError: the disk is full; nothing was stored.
        """
        return await self._perform(lambda bounds: PutRequest(bounds=bounds, records=records), length(records))

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
        """Change fields of one record; return True, or False if there is no such record.

        Fields that are not given stay as they are, and so do the creation time and the place in the session.
        Concurrent updates of a record are applied one after the other, so none is lost. The change is durable when the
        call returns.

        Args:
            uid: the uid of the record.
            changes: a merge patch of the metadata (RFC 7396): keys are set, objects are merged, None removes a key.
            namespace: the namespace of the record; `"default"` when None.
            vector: (dim,), the new vector; give one when the text changes.
            model_id: the embedding model of `vector`.
            source: the new origin; None removes it.
            expires_in_s: a new lifetime in seconds from now; None removes it.
            priority: the new priority; None removes it.

        Returns:
            True if the record was updated, False if there is no such record.

        Raises:
            InvalidInputError: an argument is invalid, or the metadata would become too large; nothing was changed.
            ModelMismatchError: `model_id` is not the model of the namespace's vectors.
        """
        return await self._perform(
            lambda bounds: UpdateRequest(
                bounds=bounds,
                uid=uid,
                changes=changes,
                namespace=namespace,
                vector=cast("Vector | None", vector),
                model_id=model_id,
                source=source,
                expires_in_s=expires_in_s,
                priority=priority,
            )
        )

    async def adelete(
        self, uids: Sequence[str] | None = None, *, where: Where | None = None, namespace: str | None = None
    ) -> int:
        """Delete records by uid, by filter or by both, and return the number deleted.

        With both, a record is deleted if its uid is given and it matches the filter. The deletion is durable when the
        call returns.

        Args:
            uids: the uids to delete; unknown ones are ignored. None for any uid.
            where: a filter over metadata; `{}` matches every record. None for no filter.
            namespace: the namespace to delete from; all of them when None.

        Returns:
            The number of records deleted.

        Raises:
            InvalidInputError: neither `uids` nor `where` was given.
        """
        return await self._perform(
            lambda bounds: DeleteRequest(bounds=bounds, uids=uids, where=where, namespace=namespace)
        )

    add = blocking(aadd)
    add_batch = blocking(aadd_batch)
    put = blocking(aput)
    update = blocking(aupdate)
    delete = blocking(adelete)


_NAMES_FOR_ONE = {
    "vectors": "vector",
    "metadatas": "metadata",
    "uids": "uid",
    "sources": "source",
    "sessions": "session",
    "expires_in_s": "expires_in_s",
    "priorities": "priority",
}


@contextmanager
def _named_for_one() -> Iterator[None]:
    # A caller with one record knows no lists: `expires_in_s[0]` is its `expires_in_s`.
    try:
        yield
    except InvalidInputError as exc:
        many, first, rest = exc.field.partition("[0]")
        if not first or many not in _NAMES_FOR_ONE:
            raise
        raise exc.for_field(_NAMES_FOR_ONE[many] + rest) from exc
