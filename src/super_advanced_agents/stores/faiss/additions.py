"""What is written to the rows of a store, and what a commit did to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from super_advanced_agents.stores.validation import Document
from super_advanced_agents.types import Matrix


class Scope(NamedTuple):
    """Whose records: the tenant comes from a credential, the namespace from the caller."""

    tenant: str
    namespace: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What a record that was stored before brings along; parallel lists.

    Attributes:
        created_at: seconds since the epoch.
        updated_at: seconds since the epoch.
        places: in their sessions; None for the end.
        modelled: whether the addition's model made the record's vector.
    """

    created_at: Sequence[float]
    updated_at: Sequence[float]
    places: Sequence[int | None]
    modelled: Sequence[bool]


@dataclass(slots=True, kw_only=True)
class Addition:
    """Records of one scope to insert or replace, checked; parallel lists of n."""

    scope: Scope
    uids: list[str]
    known_new: bool  # the store made every uid itself, so none can exist yet
    documents: Sequence[Document]
    vectors: Matrix
    scaled: Matrix  # the vectors as searches compare them: of length 1 when the metric is the cosine
    model_id: str | None
    sources: Sequence[str | None]
    sessions: Sequence[str | None]
    now: float
    expires_at: Sequence[float | None]
    priorities: Sequence[float | None]
    digests: Sequence[bytes] | None = None  # given where content that is there already is not to be stored again
    stored: Stored | None = None
    same_vectors: bool = False  # those that are there already, so they say nothing new of the scope's model


@dataclass(slots=True)
class Change:
    """What a committed transaction did, for the indexes that follow it. Parallel lists for what was added."""

    added: list[int] = field(default_factory=list)
    scopes: list[int] = field(default_factory=list)
    expires_at: list[float | None] = field(default_factory=list)
    sessions: list[str | None] = field(default_factory=list)
    replaces: list[int | None] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)
    placed: dict[int, int] = field(default_factory=dict)
    """Row -> its place, for rows whose place in their session was given."""
