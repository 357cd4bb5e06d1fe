"""Checksums of the records of a namespace, by which two stores are compared.

A checksum does not depend on the order in which records are read.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np

from super_advanced_agents.stores.records.scope import Scope
from super_advanced_agents.types import Record

_BITS = 128


@dataclass(slots=True)
class Checksum:
    """Count the records of a namespace, and add up their digests.

    Attributes:
        count: the number of records.
        total: the sum of their digests, modulo 2^128.
        models: the embedding models of their vectors.
    """

    count: int = 0
    total: int = 0
    models: set[str] = field(default_factory=set)

    def add(self, record: Record) -> None:
        """Add one record."""
        self.count += 1
        self.total = (self.total + digest_of(record)) % (1 << _BITS)
        if record.model_id is not None:
            self.models.add(record.model_id)

    def __str__(self) -> str:
        return f"{self.total:032x}"


def digest_of(record: Record) -> int:
    """Return the digest of a record: of its uid, text, metadata, times, vector and the rest."""
    fields = [
        *(record.uid, record.metadata, record.model_id, record.source, record.session, record.place),
        *(record.created_at, record.updated_at, record.expires_at, record.priority),
    ]
    encoded = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    digest = blake2b(encoded, digest_size=_BITS // 8)
    digest.update(np.ascontiguousarray(record.vector, dtype="<f4").tobytes())
    return int.from_bytes(digest.digest(), "big")


def add_to_checksums(pages: Iterable[tuple[str, list[Record]]], checksums: defaultdict[Scope, Checksum]) -> None:
    """Add the records of pages to the checksums of their namespaces, without expired ones.

    Args:
        pages: each the name of a tenant and records of it.
        checksums: the checksums by tenant and namespace, which are changed in place.
    """
    now = time.time()
    for tenant, records in pages:
        for record in records:
            if record.expires_at is None or record.expires_at > now:
                checksums[Scope(tenant, record.namespace)].add(record)
