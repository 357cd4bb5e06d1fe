"""What callers hand to a store, checked and copied into the shapes its workers want."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from types import EllipsisType
from typing import TypeVar

from numpy.typing import ArrayLike

from super_advanced_agents._runtime.turns import in_turns
from super_advanced_agents._runtime.uids import new_uids
from super_advanced_agents.config import DEFAULT_NAMESPACE, DEFAULT_TENANT, Limits, checked_name
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.stores.faiss.duplicates import digests_of
from super_advanced_agents.stores.faiss.record_intake import additions
from super_advanced_agents.stores.faiss.requests import Put, Search
from super_advanced_agents.stores.faiss.rows import Addition, Scope
from super_advanced_agents.stores.faiss.updates import Update
from super_advanced_agents.stores.filters import Filter, parse
from super_advanced_agents.stores.options import Metric
from super_advanced_agents.stores.validation import (
    bounded_rows,
    checked_dedupe,
    checked_document,
    checked_list,
    checked_matrix,
    checked_model_id,
    checked_priority,
    checked_records,
    checked_source,
    checked_top_k,
    checked_uid,
    expiry,
    unit_rows,
    with_text,
)
from super_advanced_agents.types import Dedupe, Matrix, Metadata, Record, Where

Value = TypeVar("Value")


class Intake:
    """The checks of one store, or of one tenant's view of it; raises `InvalidInputError` naming the field."""

    def __init__(self, dim: int, metric: Metric, limits: Limits, *, tenant: str = DEFAULT_TENANT) -> None:
        self._dim = dim
        self._scale = unit_rows if metric == "cosine" else bounded_rows
        self._limits = limits
        self._tenant = "" if tenant == DEFAULT_TENANT else checked_name(tenant, "tenant")

    def addition(
        self,
        vectors: ArrayLike | Sequence[ArrayLike],
        *,
        metadatas: Sequence[Metadata | None] | None,
        uids: Sequence[str | None] | None,
        namespace: str | None,
        model_id: str | None,
        sources: Sequence[str | None] | None,
        sessions: Sequence[str | None] | None,
        expires_in_s: Sequence[float | None] | None,
        priorities: Sequence[float | None] | None,
        dedupe: Dedupe | None,
    ) -> Addition:
        """Check what a caller hands over, and copy it."""
        matrix, scaled = self.vectors(vectors, field="vectors")
        n = len(matrix)
        now = time.time()
        names, known_new = self._names(uids, n)
        addition = Addition(
            scope=self.own_scope(namespace),
            uids=names,
            known_new=known_new,
            documents=[
                checked_document(metadata, field=f"metadatas[{i}]", limits=self._limits)
                for i, metadata in in_turns(enumerate(checked_list(metadatas, n, field="metadatas")))
            ],
            vectors=matrix,
            scaled=scaled,
            model_id=checked_model_id(model_id),
            sources=_each(sources, n, checked_source, field="sources"),
            sessions=_each(sessions, n, checked_source, field="sessions"),
            now=now,
            expires_at=_each(expires_in_s, n, partial(expiry, now=now), field="expires_in_s"),
            priorities=_each(priorities, n, checked_priority, field="priorities"),
        )
        if checked_dedupe(dedupe) is not None:
            addition.digests = digests_of(addition)
        return addition

    def _names(self, uids: Sequence[str | None] | None, n: int) -> tuple[list[str], bool]:
        """A name for each record, and whether none of them can exist yet."""
        if uids is None:
            return new_uids(n), True
        given = checked_list(uids, n, field="uids")
        made = iter(new_uids(sum(uid is None for uid in given)))
        names = [
            next(made) if uid is None else checked_uid(uid, field=f"uids[{i}]", limits=self._limits)
            for i, uid in enumerate(given)
        ]
        return names, all(uid is None for uid in given)

    def put(self, records: Sequence[Record]) -> Put:
        """Check whole records, and copy them; those that have expired are left out."""
        checked = checked_records(records)
        matrix, scaled = self.vectors([record.vector for record in checked], field="records")
        return Put(additions(checked, matrix, scaled, tenant=self._tenant, limits=self._limits, now=time.time()))

    def update(
        self,
        uid: str,
        changes: Metadata | None,
        *,
        namespace: str | None,
        vector: ArrayLike | None,
        model_id: str | None,
        source: str | EllipsisType | None,
        expires_in_s: float | EllipsisType | None,
        priority: float | EllipsisType | None,
    ) -> Update:
        """Check changes of a record, and copy them."""
        now = time.time()
        patch = checked_document(changes, field="changes", limits=self._limits)
        given = None if vector is None else self.vectors([vector], field="vector")[0]
        kept = EllipsisType
        return Update(
            scope=self.own_scope(namespace),
            uid=checked_uid(uid, field="uid", limits=self._limits),
            changes=with_text(patch.text, patch.json),
            vector=given,
            model_id=checked_model_id(model_id),
            source=source if isinstance(source, kept) else checked_source(source, field="source"),
            now=now,
            expires_at=expires_in_s
            if isinstance(expires_in_s, kept)
            else expiry(expires_in_s, now=now, field="expires_in_s"),
            priority=priority if isinstance(priority, kept) else checked_priority(priority, field="priority"),
            scaled=partial(self._scale, field="vector"),
            limits=self._limits,
        )

    def own_scope(self, namespace: str | None) -> Scope:
        """The scope of records that are written; the default one when no namespace is named."""
        return Scope(self._tenant, checked_name(DEFAULT_NAMESPACE if namespace is None else namespace, "namespace"))

    def scope(self, namespace: str | None) -> Scope | None:
        """Whose records; the whole store's when None, which only the store's owner may ask for."""
        if namespace is not None:
            return Scope(self._tenant, checked_name(namespace, "namespace"))
        if self._tenant:
            raise InvalidInputError("a tenant's view needs a namespace", field="namespace", hint="name one")
        return None

    def tree(self, where: Where | None) -> Filter | None:
        """The filter."""
        return None if where is None else parse(where, max_terms=self._limits.filter_terms)

    def uids(self, uids: Sequence[str]) -> list[str]:
        """Names to read or delete."""
        if isinstance(uids, str) or not isinstance(uids, Sequence):
            raise InvalidInputError("uids must be a list of strings", field="uids", hint="put a single uid in a list")
        self._check_batch(len(uids), "uids")
        return [checked_uid(uid, field=f"uids[{i}]", limits=self._limits) for i, uid in enumerate(uids)]

    def vectors(self, vectors: ArrayLike | Sequence[ArrayLike], *, field: str) -> tuple[Matrix, Matrix]:
        """The vectors as they were given, and as searches compare them."""
        self._check_batch(length(vectors), field)  # before a large one is copied
        matrix = checked_matrix(vectors, self._dim, field=field)
        return matrix, self._scale(matrix, field=field)

    def _check_batch(self, n: int, field: str) -> None:
        if n > self._limits.batch_records:
            raise InvalidInputError(
                f"{field} has {n} entries, the limit of one batch is {self._limits.batch_records}",
                field=field,
                hint="send several batches, or raise limits.batch_records",
            )

    def queries(self, vectors: ArrayLike | Sequence[ArrayLike], field: str) -> Matrix:
        """Query vectors (m, dim), as searches compare them."""
        return self.vectors(vectors, field=field)[1]

    def search(
        self, queries: Matrix, top_k: int, where: Where | None, namespace: str | None, return_scores: bool
    ) -> Search:
        """One search for the workers."""
        k = checked_top_k(top_k, limits=self._limits)
        return Search(queries, k, self.scope(namespace), self.tree(where), return_scores)


def _each(
    values: Sequence[object] | None, n: int, check: Callable[..., Value], *, field: str
) -> Sequence[Value | None]:
    """The n values, each checked; None for each when none are given."""
    if values is None:
        return [None] * n
    return [check(value, field=f"{field}[{i}]") for i, value in enumerate(checked_list(values, n, field=field))]


def length(vectors: object) -> int:
    """How many vectors a caller seems to hand over; 0 when it cannot be told."""
    try:
        return len(vectors)  # type: ignore[arg-type]  # what has no length is refused when it is looked at
    except TypeError:
        return 0
