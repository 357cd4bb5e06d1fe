"""The stored form of metadata: its `text` apart, the rest as JSON; and its validation."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import orjson

from super_advanced_agents.config import Limits, checked_text
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.stores.records.record_fields import RESERVED
from super_advanced_agents.types import Metadata, parsed_metadata


class Document(NamedTuple):
    """Hold a record's metadata as it is stored: the `text` field, and the other fields as JSON."""

    text: str | None
    json: bytes


def checked_document(metadata: object, *, field: str, limits: Limits, stored: bool = False) -> Document:
    """Validate metadata, and split it into its `text` field and the JSON of the other fields.

    Args:
        metadata: the metadata; None stands for `{}`.
        field: the name of the argument, for errors.
        limits: the limits that it must meet.
        stored: True for metadata that was stored before, whose keys may begin with `$`.

    Raises:
        InvalidInputError: `metadata` is not a JSON object, is too large or too deep, or its text is invalid.
    """
    if metadata is None:
        return Document(None, b"{}")
    if not isinstance(metadata, dict):
        raise InvalidInputError(f"{field} must be an object, not {type(metadata).__name__}", field=field)
    if not stored:
        _refuse_reserved_keys(metadata, field)
    text = metadata.get("text")
    rest = metadata
    if isinstance(text, str):
        checked_text(text, f"{field}.text", max_bytes=limits.text_bytes)
        rest = metadata.copy()
        del rest["text"]
    else:
        text = None
    if not _PLAIN_TYPES.issuperset(map(type, rest.values())):
        _check_json(rest, field, limits.metadata_depth)
    try:
        encoded = orjson.dumps(rest)
    except (TypeError, orjson.JSONEncodeError) as exc:
        _check_json(rest, field, limits.metadata_depth)  # names a key that is not a string
        raise InvalidInputError(
            f"{field} cannot be stored as JSON",
            field=field,
            hint="integers have at most 64 bits, texts no lone surrogates",
        ) from exc
    if len(encoded) > limits.metadata_bytes:
        raise InvalidInputError(
            f"{field} is {len(encoded)} bytes of JSON, the limit is {limits.metadata_bytes}", field=field
        )
    return Document(text, encoded)


def _refuse_reserved_keys(metadata: dict[object, object], field: str) -> None:
    for key, value in metadata.items():
        # A patch may remove one that an older version stored.
        if type(key) is str and key[:1] == RESERVED and value is not None:
            raise InvalidInputError(
                f"{field} has the key {key[:80]!r}, but names that begin with '$' are reserved",
                field=field,
                hint="give the key another name",
            )


_PLAIN_TYPES = frozenset({str, int, bool, type(None)})
"""Types whose values are all JSON; most values are, and skip `_check_json`."""


def _check_json(value: object, field: str, depth: int, level: int = 0) -> None:
    # orjson alone would store NaN as null and dates as strings.
    items: Iterable[object] = ()
    if isinstance(value, dict):
        if any(type(key) is not str for key in value):
            raise InvalidInputError(f"{field} has a key that is not a string", field=field)
        items = value.values()
    elif isinstance(value, list | tuple):
        items = value
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidInputError(f"{field} holds a number that is not finite", field=field)
        return
    else:
        raise InvalidInputError(f"{field} holds a {type(value).__name__}, which is not JSON", field=field)
    if level >= depth:
        raise InvalidInputError(
            f"{field} is nested deeper than {depth} levels (metadata_depth)", field=field, hint="flatten it"
        )
    for item in items:
        if type(item) not in _PLAIN_TYPES:
            _check_json(item, field, depth, level + 1)


def with_text(text: str | None, encoded: bytes | str) -> Metadata:
    """Return a record's metadata, built from its stored text and the JSON of the other fields."""
    rest = parsed_metadata(encoded)
    return rest if text is None else {"text": text, **rest}
