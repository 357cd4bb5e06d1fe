"""Facts about a record's metadata, hashed to integers, by which Milvus filters.

A fact is that a field equals a value, exists, or has a member. Comparing hashes gives equality the same meaning as
`stores.filters` gives it, for values of any type and fields of any name, which JSON columns of Milvus 2.3 do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from hashlib import blake2b

from super_advanced_agents.stores.filters import Scalar, is_field_name, scalar
from super_advanced_agents.types import JSONValue, Metadata

MAX_FACTS = 4_096
"""The most members of a list in Milvus."""
_SMALL_CHARS = 100
"""The most characters of a fact whose hash is kept; records have many small facts in common."""


def fact_hashes(metadata: Metadata) -> tuple[list[int], bool]:
    """Return the hashes of the facts about a record's metadata, and whether they are complete."""
    hashes: dict[int, None] = {}
    for key, value in _fields(metadata):
        hashes[existence(key)] = None
        hashes[equality(key, scalar(value))] = None
        if isinstance(value, list):
            for item in value:
                hashes[membership(key, scalar(item))] = None
        if len(hashes) > MAX_FACTS:
            return list(hashes)[:MAX_FACTS], False
    return list(hashes), True


def equality(key: str, value: Scalar) -> int:
    """Return the hash of the fact that a field equals a value."""
    return _hash("=", key, *_canonical(value))


def existence(key: str) -> int:
    """Return the hash of the fact that a field exists."""
    return _hash("?", key)


def membership(key: str, member: Scalar) -> int:
    """Return the hash of the fact that a field is a list with this member."""
    return _hash("@", key, *_canonical(member))


def term_hash(term: str) -> int:
    """Return the hash of a term of a text, a positive integer of 63 bits."""
    return _term_hash(term)


@lru_cache(maxsize=65_536)
def _term_hash(term: str) -> int:
    return hash63(term.encode())


def hash63(content: bytes) -> int:
    """Return a positive integer of 63 bits, as Milvus cannot read the least one of 64."""
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "big") >> 1


def _fields(metadata: Metadata) -> Iterator[tuple[str, JSONValue]]:
    # The fields that a filter can name: a key with dots goes before the path into nested objects.
    for key, value in metadata.items():
        if is_field_name(key):
            yield key, value
    for key, value in metadata.items():
        if isinstance(value, Mapping) and "." not in key:
            for path, nested in _nested(key, value):
                if path not in metadata and is_field_name(path):
                    yield path, nested


def _nested(prefix: str, fields: Mapping[str, JSONValue]) -> Iterator[tuple[str, JSONValue]]:
    for key, value in fields.items():
        if "." in key:
            continue
        path = f"{prefix}.{key}"
        yield path, value
        if isinstance(value, Mapping):
            yield from _nested(path, value)


def _canonical(value: Scalar) -> tuple[str, str]:
    kind, content = value
    if isinstance(content, float) and content.is_integer():
        content = int(content)  # 1 equals 1.0
    return kind, content if isinstance(content, str) else repr(content)


def _hash(*parts: str) -> int:
    return _small_hash(*parts) if sum(map(len, parts)) <= _SMALL_CHARS else _hash_of(parts)


@lru_cache(maxsize=16_384)
def _small_hash(*parts: str) -> int:
    return _hash_of(parts)


def _hash_of(parts: tuple[str, ...]) -> int:
    return hash63("\0".join(f"{len(part)}:{part}" for part in parts).encode("utf-8", "surrogatepass"))
