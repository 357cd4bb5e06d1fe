"""Whole records handed back to a store, checked and put into the shapes its rows want."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from super_advanced_agents.config import Limits, checked_name
from super_advanced_agents.stores.faiss.additions import Addition, Scope, Stored
from super_advanced_agents.stores.validation import (
    checked_document,
    checked_model_id,
    checked_place,
    checked_priority,
    checked_source,
    checked_time,
    checked_uid,
    model_mismatch,
)
from super_advanced_agents.types import Matrix, Record

_Named: TypeAlias = "list[tuple[str, Record]]"
"""Records with what an error calls them."""


def additions(
    records: Sequence[Record], vectors: Matrix, scaled: Matrix, *, tenant: str, limits: Limits, now: float
) -> list[Addition]:
    """One addition for each namespace, its records in the order in which they were handed over; expired ones left out.

    Args:
        records: n records.
        vectors: (n, dim), theirs, checked.
        scaled: (n, dim), the same as searches compare them.
        tenant: whose they will be.
        limits: how large one may be.
        now: seconds since the epoch.

    Raises:
        InvalidInputError: a record cannot be stored.
        ModelMismatchError: two of one namespace were embedded by different models.
    """
    live: dict[str, list[int]] = {}
    for i, record in enumerate(records):
        namespace = checked_name(record.namespace, f"records[{i}].namespace")
        expires_at = record.expires_at
        if expires_at is None or checked_time(expires_at, field=f"records[{i}].expires_at") > now:
            live.setdefault(namespace, []).append(i)
    made = []
    for namespace, chosen in live.items():
        named = [(f"records[{i}]", records[i]) for i in chosen]
        whole = len(chosen) == len(records)
        addition = _addition(Scope(tenant, namespace), named, vectors if whole else vectors[chosen], limits, now)
        addition.scaled = scaled if whole else scaled[chosen]
        made.append(addition)
    return made


def _addition(scope: Scope, named: _Named, vectors: Matrix, limits: Limits, now: float) -> Addition:
    models = [checked_model_id(record.model_id, field=f"{at}.model_id") for at, record in named]
    return Addition(
        scope=scope,
        uids=[checked_uid(record.uid, field=f"{at}.uid", limits=limits) for at, record in named],
        known_new=False,
        documents=[checked_document(record.metadata, field=f"{at}.metadata", limits=limits) for at, record in named],
        vectors=vectors,
        scaled=vectors,
        model_id=_one_of(models, scope.namespace),
        sources=[checked_source(record.source, field=f"{at}.source") for at, record in named],
        sessions=[checked_source(record.session, field=f"{at}.session") for at, record in named],
        now=now,
        expires_at=[record.expires_at for _, record in named],
        priorities=[checked_priority(record.priority, field=f"{at}.priority") for at, record in named],
        stored=Stored(
            created_at=[checked_time(record.created_at, field=f"{at}.created_at") for at, record in named],
            updated_at=[checked_time(record.updated_at, field=f"{at}.updated_at") for at, record in named],
            places=[
                None if record.session is None else checked_place(record.place, field=f"{at}.place")
                for at, record in named
            ],
            modelled=[model is not None for model in models],
        ),
    )


def _one_of(models: Sequence[str | None], namespace: str) -> str | None:
    """The one model that is named, None when none is."""
    named = list(dict.fromkeys(model for model in models if model is not None))
    if len(named) > 1:
        raise model_mismatch(namespace, named[0], named[1])
    return named[0] if named else None
