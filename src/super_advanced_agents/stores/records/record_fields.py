"""The reserved names by which a filter reaches a record's own fields, beside its metadata.

| name | what it compares with |
|---|---|
| `$uid`, `$source`, `$session` | the record's field of that name, a string; null where the record has none |
| `$type` | the memory's type, which is `type` in the metadata |
| `$created_at`, `$updated_at` | the times of the first and of the last write |

Times are compared as instants, to the microsecond. A filter gives them as ISO 8601 with a zone, as seconds since the
epoch, or in Python as a `datetime` with a zone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from super_advanced_agents.errors import FilterError
from super_advanced_agents.types import JSONValue, Metadata, Record

RESERVED = "$"
"""The first character of reserved names; no key of new metadata begins with it."""

TYPE = "$type"
"""Stands for the key `type` of the metadata."""

RECORD_FIELDS: Mapping[str, str] = MappingProxyType(
    {f"{RESERVED}{name}": name for name in ("uid", "source", "session", "created_at", "updated_at")}
)
"""The reserved names of the fields beside the metadata, with their names in a `Record`."""

TIME_FIELDS = frozenset({"$created_at", "$updated_at"})

_TIME_HINT = 'use ISO 8601 with a zone, such as "2026-11-29T09:00:00Z", or seconds since the epoch'


def named_fields(values: Iterable[Any]) -> Metadata:
    """Return own fields of a record by their reserved names, in the form that filters compare.

    Args:
        values: the values of the fields, in the order of `RECORD_FIELDS`.
    """
    return {name: comparable(name, value) for name, value in zip(RECORD_FIELDS, values, strict=True)}


def fields_of(record: Record) -> Metadata:
    """Return a record's own fields by their reserved names, in the form that filters compare."""
    return named_fields(getattr(record, name) for name in RECORD_FIELDS.values())


def comparable(name: str, value: Any) -> JSONValue:
    """Return the value of one of a record's own fields in the form that filters compare."""
    return _microseconds(value) if name in TIME_FIELDS else value


def operand_of(name: str, value: object) -> str | float | None:
    """Return a value that a filter compares a record's own field with, in the form of the field.

    Raises:
        FilterError: the value is of another kind than the field; the message says what to write.
    """
    if name in TIME_FIELDS:
        return _instant(name, value)
    if value is None or isinstance(value, str):
        return value
    raise FilterError(f"{name} takes a string, not {type(value).__name__}", field=name)


def _instant(name: str, value: object) -> float:
    moment = _moment(value) if isinstance(value, str) else value
    if isinstance(moment, datetime):
        if moment.utcoffset() is None:
            raise FilterError(f"the time for {name} has no zone", field=name, hint=_TIME_HINT)
        return _microseconds(moment.timestamp())
    try:
        if not isinstance(moment, bool) and isinstance(moment, int | float) and math.isfinite(moment):
            return _microseconds(float(moment))
    except OverflowError:  # an integer beyond float64
        pass
    raise FilterError(f"{name} takes a time", field=name, hint=_TIME_HINT)


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text.upper())  # RFC 3339 allows "t" and "z"
    except ValueError:
        return None


def _microseconds(seconds: float) -> float:
    # The time of a match, written in ISO 8601 with its six digits, must equal the stored one.
    return round(seconds, 6)


def plain_value(value: object) -> object:
    """Return a mapping as a dict and a time as ISO 8601, for writers of JSON that know neither.

    Raises:
        TypeError: it is something else.
    """
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
