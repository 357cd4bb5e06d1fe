"""Updates of one record, applied to the stored version of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import EllipsisType

import numpy as np

from super_advanced_agents._runtime.clock import ForwardClock
from super_advanced_agents.config import Limits
from super_advanced_agents.stores.faiss.rows.batch import RowBatch
from super_advanced_agents.stores.records.documents import checked_document
from super_advanced_agents.stores.records.patches import merge_patch
from super_advanced_agents.stores.records.scope import Scope
from super_advanced_agents.stores.requests import UpdateRequest
from super_advanced_agents.types import Matrix, Metadata, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """Hold a validated update of one record; a field that is `...` keeps its stored value.

    Attributes:
        scope: the tenant and namespace of the record.
        uid: the record's uid.
        changes: a JSON merge patch (RFC 7396) of the metadata.
        vector: (1, dim) float32; None to keep the stored one.
        model_id: the embedding model of `vector`.
        source: the new source; None to remove it.
        now: the time of the write, in seconds since the epoch.
        expires_at: seconds since the epoch; None to remove the expiry.
        priority: the new priority; None to remove it.
        scaled: scales vectors as searches compare them.
        limits: the limits that the new metadata must meet.
    """

    scope: Scope
    uid: str
    changes: Metadata
    vector: Matrix | None
    model_id: str | None
    source: str | EllipsisType | None
    now: float
    expires_at: float | EllipsisType | None
    priority: float | EllipsisType | None
    scaled: Callable[[Matrix], Matrix]
    limits: Limits

    @classmethod
    def of(
        cls,
        request: UpdateRequest,
        *,
        now: float,
        clock: ForwardClock,
        scaled: Callable[[Matrix], Matrix],
        limits: Limits,
    ) -> Update:
        """Build the update that a request asks for.

        `scaled` is the function that scales vectors as searches compare them: to length 1 for cosine. Records expire by
        `clock`.
        """
        lifetime = request.expires_in_s
        return cls(
            scope=Scope.of_writing(request.tenant, request.namespace),
            uid=request.uid,
            changes=request.changes or {},
            vector=None if request.vector is None else request.vector[np.newaxis],
            model_id=request.model_id,
            source=request.source,
            now=now,
            expires_at=clock.now() + lifetime if isinstance(lifetime, int | float) else lifetime,
            priority=request.priority,
            scaled=scaled,
            limits=limits,
        )

    def applied_to(self, record: Record) -> RowBatch:
        """Return the batch that replaces a stored record with its updated version.

        Raises:
            InvalidInputError: the new metadata is too large or too deeply nested, or its text is invalid.
        """
        metadata = merge_patch(record.metadata, self.changes)
        vectors = record.vector[np.newaxis] if self.vector is None else self.vector
        return RowBatch(
            scope=self.scope,
            uids=[self.uid],
            known_new=False,
            documents=[checked_document(metadata, field="changes", limits=self.limits, stored=True)],
            vectors=vectors,
            scaled=self.scaled(vectors),
            model_id=record.model_id if self.vector is None else self.model_id,
            sources=[record.source if isinstance(self.source, EllipsisType) else self.source],
            sessions=[record.session],
            now=self.now,
            expires_at=[record.expires_at if isinstance(self.expires_at, EllipsisType) else self.expires_at],
            priorities=[record.priority if isinstance(self.priority, EllipsisType) else self.priority],
            same_vectors=self.vector is None,
        )
