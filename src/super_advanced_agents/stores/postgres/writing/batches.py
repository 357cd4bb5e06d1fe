"""Batches of records to write, prepared before their transaction begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from super_advanced_agents.config import DEFAULT_NAMESPACE
from super_advanced_agents.stores.faiss.rows.duplicates import digest_of
from super_advanced_agents.stores.records.documents import Document
from super_advanced_agents.stores.requests import AddRequest, PutRequest
from super_advanced_agents.stores.text.analyzer import Analysis, analyze
from super_advanced_agents.stores.validation import model_mismatch
from super_advanced_agents.types import Matrix, Record

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Hold n records of one namespace to insert or replace, as parallel lists.

    Attributes:
        uids: (n,) uids; the last of equal ones is stored.
        known_new: True when the store generated every uid, so that none can exist yet.
        documents: (n,) texts and metadata.
        vectors: (n, dim) float32, as the caller gave them.
        analyses: (n,) the terms of the texts; None where a record has none.
        models: (n,) the embedding model of each vector, None where it is unknown.
        lifetimes: (n,) seconds from the write on; None where a record does not expire.
        expires_at: (n,) seconds since the epoch, for records of another store; None to use `lifetimes`.
        times: the first and last writes of records of another store; None for new records.
        places: (n,) positions in their sessions; None for the end.
        digests: (n,) of the contents; None unless the scope keeps them.
        same_vectors: True when the vectors are in the store already.
    """

    namespace: str
    uids: Sequence[str]
    known_new: bool
    documents: Sequence[Document]
    vectors: Matrix
    analyses: Sequence[Analysis | None]
    models: Sequence[str | None]
    sources: Sequence[str | None]
    sessions: Sequence[str | None]
    lifetimes: Sequence[float | None]
    priorities: Sequence[float | None]
    expires_at: Sequence[float | None] | None = None
    times: Sequence[tuple[float, float]] | None = None
    places: Sequence[int | None] | None = None
    digests: Sequence[bytes] | None = None
    same_vectors: bool = False

    @property
    def model(self) -> str | None:
        """The embedding model of its vectors; None when it is unknown."""
        return next((model for model in self.models if model is not None), None)

    def selected(self, kept: Sequence[int]) -> Batch:
        """Return the batch of the records at these positions."""
        if len(kept) == len(self.uids):
            return self

        def pick(values: Sequence[Value]) -> list[Value]:
            return [values[i] for i in kept]

        return replace(
            self,
            uids=pick(self.uids),
            documents=pick(self.documents),
            vectors=self.vectors[list(kept)] if kept else self.vectors[:0],
            analyses=pick(self.analyses),
            models=pick(self.models),
            sources=pick(self.sources),
            sessions=pick(self.sessions),
            lifetimes=pick(self.lifetimes),
            priorities=pick(self.priorities),
            expires_at=None if self.expires_at is None else pick(self.expires_at),
            times=None if self.times is None else pick(self.times),
            places=None if self.places is None else pick(self.places),
            digests=None if self.digests is None else pick(self.digests),
        )

    def with_digests(self) -> Batch:
        """Return the batch with the digests of its contents."""
        if self.digests is not None:
            return self
        digests = [
            digest_of(document, b"" if document.text is not None else vector.tobytes())
            for document, vector in zip(self.documents, self.vectors, strict=True)
        ]
        return replace(self, digests=digests)


def of_add(request: AddRequest) -> Batch:
    """Return the batch that an add request writes."""
    n = len(request.vectors)
    nothing: list[None] = [None] * n
    batch = Batch(
        namespace=request.namespace or DEFAULT_NAMESPACE,
        uids=[uid or "" for uid in request.with_uids().uids or ()],
        known_new=request.uids is None or not any(request.uids),
        documents=request.documents,
        vectors=request.vectors,
        analyses=analyzed(request.documents),
        models=[request.model_id] * n,
        sources=request.sources or nothing,
        sessions=request.sessions or nothing,
        lifetimes=request.expires_in_s or nothing,
        priorities=request.priorities or nothing,
    )
    return batch if request.dedupe is None else batch.with_digests()


def of_put(request: PutRequest) -> list[Batch]:
    """Return the batches of a put request, one for each namespace of its records, by name.

    Raises:
        ModelMismatchError: two records of one namespace were embedded by different models.
    """
    return [
        _of_records(name, request, [i for i, record in enumerate(request.records) if record.namespace == name])
        for name in sorted({record.namespace for record in request.records})
    ]


def _of_records(namespace: str, request: PutRequest, selected: Sequence[int]) -> Batch:
    records: list[Record] = [request.records[i] for i in selected]
    models = list(dict.fromkeys(record.model_id for record in records if record.model_id is not None))
    if len(models) > 1:
        raise model_mismatch(namespace, models[0], models[1])
    documents = [request.documents[i] for i in selected]
    return Batch(
        namespace=namespace,
        uids=[record.uid for record in records],
        known_new=False,
        documents=documents,
        vectors=request.vectors[np.asarray(selected, dtype=np.intp)],
        analyses=analyzed(documents),
        models=[record.model_id for record in records],
        sources=[record.source for record in records],
        sessions=[record.session for record in records],
        lifetimes=[None] * len(records),
        priorities=[record.priority for record in records],
        expires_at=[record.expires_at for record in records],
        times=[(record.created_at, record.updated_at) for record in records],
        places=[None if record.session is None else record.place for record in records],
    )


def analyzed(documents: Sequence[Document]) -> list[Analysis | None]:
    """Return the terms of the documents' texts; None where one has no text."""
    return [None if document.text is None else analyze(document.text) for document in documents]
