"""The public operations that change a store, each written once."""

from __future__ import annotations

from collections.abc import Sequence
from types import EllipsisType
from typing import cast

from numpy.typing import ArrayLike

from super_advanced_agents._runtime.sync_bridge import blocking
from super_advanced_agents.stores.executor import RequestExecutor
from super_advanced_agents.stores.requests import AddRequest, DeleteRequest, PutRequest, UpdateRequest, length
from super_advanced_agents.types import Dedupe, Matrix, Metadata, Record, Vector, Where


class WriteOperations(RequestExecutor):
    """Add, replace, change and delete records; a part of `VectorStore`."""

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
        """Add or replace records, all or none; returned means durable.

        Args:
            vectors: (n, dim), finite, not zero when the metric is the cosine; kept as float32.
            metadatas: n JSON objects; `{}` for None.
            uids: n names; a record of the same name in the namespace is replaced (keeping its creation time), and of
                equal names in one batch the last wins. For None the store makes a time-ordered one.
            namespace: where to; `"default"` when None.
            model_id: the embedding model that made the vectors, kept with each record; not checked when None. The first
                of a namespace is that of all, until no record of it is left.
            sources: n origins (a file, a URL) kept with the records.
            sessions: n conversations the records are turns of, in the order they were said; a hybrid search finds a
                turn through its neighbours too. A replaced turn keeps its place.
            expires_in_s: n lifetimes in seconds; past its lifetime a record is never returned.
            priorities: n finite numbers, how much each record matters, for searches whose `Weights` count it.
            dedupe: with `"exact"` a record whose content a record of the namespace has is not stored; the uid of that
                one, which stays as it is, is returned in its place. Content is the text and the rest of the metadata
                (the vector where there is no text), not source, session, lifetime or priority. Decided where writes
                are carried out, so of equal records that are added at once, in one batch or by many callers, one is
                stored. A record whose uid is there already replaces that one as ever, whatever its content.

        Returns:
            The n uids, in order.

        Raises:
            DimensionMismatchError: a vector has another length than `dim`.
            ModelMismatchError: the namespace has vectors of another model; nothing was stored.
            StoreFullError: no room on the disk; nothing was stored.
        """
        return await self._perform(
            lambda bounds: AddRequest(
                bounds=bounds,
                vectors=cast("Matrix", vectors),  # which they are once they were checked
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
        """Add or replace one record of a (dim,) vector; see `aadd_batch`. Concurrent callers share commits."""
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
        """Store whole records, of any namespaces, as `scan` or `get` gave them; all or none; returned means durable.

        What restores an export: every field is kept, times and places in sessions too, so turns have the neighbours
        they had, in whatever order they are put. A record of the same uid and namespace is replaced, of equal ones in
        one call the last wins, and one that has expired is left out.

        Args:
            records: at most the store's `batch_records` limit; a turn without `place` goes to the end of its session.

        Returns:
            How many were stored.

        Raises:
            DimensionMismatchError: a vector has another length than `dim`.
            ModelMismatchError: a namespace would have vectors of two models.
            StoreFullError: no room on the disk; nothing was stored.
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
        """Change one record in place; returned means durable.

        What is not named stays: the vector, the time of creation, the place in a session. Changes by many callers
        follow one another, so none is lost.

        Args:
            uid: which record.
            changes: a merge patch of its metadata (RFC 7396): keys are set, objects are merged, None removes a key.
            namespace: whose record; `"default"` when None.
            vector: (dim,), to replace its vector; give it when the text changes.
            model_id: the embedding model that made `vector`.
            source: where it came from.
            expires_in_s: a lifetime in seconds from now; None for an endless one.
            priority: how much it matters; None for nothing said.

        Returns:
            False when there is no such record.

        Raises:
            InvalidInputError: an argument is wrong, or the metadata would be too large; nothing was changed.
            ModelMismatchError: `model_id` is not that of the namespace's vectors.
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
        """Delete by name, by filter, or by both (records that are named and match); returned means durable.

        Returns:
            How many records were deleted.

        Raises:
            InvalidInputError: neither `uids` nor `where` was given; `where={}` deletes every record of the namespace.
        """
        return await self._perform(
            lambda bounds: DeleteRequest(bounds=bounds, uids=uids, where=where, namespace=namespace)
        )

    add = blocking(aadd)
    add_batch = blocking(aadd_batch)
    put = blocking(aput)
    update = blocking(aupdate)
    delete = blocking(adelete)
