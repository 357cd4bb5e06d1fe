"""What an export holds, whatever its format: a header, records with every field, and how the two are written down."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Protocol, TypeAlias

import orjson

from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.types import Metadata, Record, Vector

FileFormat: TypeAlias = Literal["jsonl", "parquet"]

NAME = "super-advanced-agents/export"
VERSION = 1
PARQUET_MAGIC = b"PAR1"
LINE_BYTES = 1 << 20
"""A longer line is refused: the largest record of the default limits has some 440 KiB."""
_START_BYTES = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What is said of all records of an export.

    Attributes:
        dim: the length of every vector.
        metric: `"cosine"` or `"dot"`, as the store compared them; None where it did not tell.
        vectors: whether the records have their vectors.
        namespace: the one whose records these are; None for those of all.
        created_at: seconds since the epoch.
    """

    dim: int
    metric: str | None
    vectors: bool
    namespace: str | None
    created_at: float

    def encoded(self) -> bytes:
        """As JSON, on one line."""
        return orjson.dumps({"format": NAME, "version": VERSION, **asdict(self)})

    @classmethod
    def decoded(cls, encoded: bytes) -> Header:
        """The header that was written so.

        Raises:
            InvalidInputError: it is none, of a newer version, or damaged.
        """
        try:
            told = orjson.loads(encoded)
            if told["format"] != NAME:
                raise ValueError("format")
            if told["version"] > VERSION:
                raise InvalidInputError(
                    f"the export is of version {told['version']}, this version of the package knows {VERSION}",
                    hint="upgrade super-advanced-agents",
                )
            header = cls(**{field.name: told[field.name] for field in fields(cls)})
            if type(header.dim) is not int or header.dim < 1 or type(header.vectors) is not bool:
                raise ValueError("dim")
            return header
        except (ValueError, KeyError, TypeError) as exc:
            raise InvalidInputError("the export's header is damaged", hint="export again") from exc


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line or row of an export: a record, or why there is none. Numbers begin at 1, the header counted."""

    number: int
    record: Record | None = None
    trouble: str = ""


class Writer(Protocol):
    """Writes records to a file that somebody else opened and closes."""

    def write(self, records: list[Record]) -> None:
        """Write some more."""

    def finish(self) -> None:
        """Write what stands at the end."""


class Reader(Protocol):
    """Reads records from a file.

    Attributes:
        header: what is said of all of them.
        read_bytes: how much was read so far.
    """

    header: Header
    read_bytes: int

    def page(self) -> list[Entry]:
        """Some more, at most 1,000; none at the end."""

    def close(self) -> None:
        """Let go of the file."""


def sniff(start: bytes) -> FileFormat | None:
    """The format of the export that begins with these bytes (the first 4 KiB are enough); None if it is none."""
    if start.startswith(PARQUET_MAGIC):
        return "parquet"
    begun = start.removeprefix(b"\xef\xbb\xbf").lstrip()[:_START_BYTES]
    return "jsonl" if begun.startswith(b"{") and f'"{NAME}"'.encode() in begun.partition(b"\n")[0] else None


class _NoRecordError(Exception):
    """A line holds no record; its message says why. Only ever caught in this package."""


FIELDS = (
    *("uid", "namespace", "model_id", "source", "session", "place"),
    *("created_at", "updated_at", "expires_at", "priority"),
)
"""The fields of a record that are written as they are; its text stands apart from the rest of its metadata."""
_REQUIRED = ("uid", "namespace", "created_at", "updated_at")


def split(record: Record) -> tuple[str | None, Metadata]:
    """A record's text and the rest of its metadata."""
    text = record.text
    if text is None:
        return None, record.metadata
    return text, {name: value for name, value in record.metadata.items() if name != "text"}


def record_of(values: dict[str, Any], vector: Vector) -> Record:
    """The record of what was read: the values of `FIELDS` that are not null, `text` and `metadata`.

    What the values are worth is for `VectorStore.put` to judge.

    Raises:
        _NoRecordError: something is missing, unknown, or not an object; says what.
    """
    values = dict(values)
    text, metadata = values.pop("text", None), values.pop("metadata", None)
    if text is not None and not isinstance(text, str):
        raise _NoRecordError("its 'text' is not a string")
    if not isinstance(metadata, dict | None):
        raise _NoRecordError("its 'metadata' is not an object")
    for name in _REQUIRED:
        if values.get(name) is None:
            raise _NoRecordError(f"it has no {name!r}")
    unknown = values.keys() - set(FIELDS)
    if unknown:
        raise _NoRecordError(f"it has the unknown member {min(unknown)!r}")
    rest: Metadata = metadata or {}
    given: dict[str, Any] = dict.fromkeys(FIELDS) | values
    return Record(vector=vector, metadata=rest if text is None else {"text": text, **rest}, **given)
