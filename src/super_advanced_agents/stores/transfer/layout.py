"""The content of an export file, in JSON lines or Parquet: a header, and records."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Protocol, TypeAlias

import orjson

from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.types import Metadata, Record, Vector

FileFormat: TypeAlias = Literal["jsonl", "parquet"]
"""The format of an export file."""

NAME = "super-advanced-agents/export"
VERSION = 1
PARQUET_MAGIC = b"PAR1"
LINE_BYTES = 1 << 20
"""The longest line accepted; the largest record within the default limits has about 440 KiB."""
_START_BYTES = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Describe an export file: vector length, metric, namespace and time of the export.

    Attributes:
        dim: the length of every vector.
        metric: the store's metric, `"cosine"` or `"dot"`; None when the store does not report one.
        vectors: whether the export holds the vectors.
        namespace: the namespace that was exported; None for all of them.
        created_at: the time of the export, in seconds since the epoch.
    """

    dim: int
    metric: str | None
    vectors: bool
    namespace: str | None
    created_at: float

    def encoded(self) -> bytes:
        """Encode the header as one line of JSON."""
        return orjson.dumps({"format": NAME, "version": VERSION, **asdict(self)})

    @classmethod
    def decoded(cls, encoded: bytes) -> Header:
        """Parse and validate a header from its JSON, as `encoded` returned it.

        Raises:
            InvalidInputError: `encoded` is not a header, is damaged, or is of a newer version.
        """
        try:
            members = orjson.loads(encoded)
            if members["format"] != NAME:
                raise ValueError("format")
            if members["version"] > VERSION:
                raise InvalidInputError(
                    f"the export is of version {members['version']}, this version of the package knows {VERSION}",
                    hint="upgrade super-advanced-agents",
                )
            header = cls(**{field.name: members[field.name] for field in fields(cls)})
            if type(header.dim) is not int or header.dim < 1 or type(header.vectors) is not bool:
                raise ValueError("dim")
            return header
        except (ValueError, KeyError, TypeError) as exc:
            raise InvalidInputError("the export's header is damaged", hint="export again") from exc


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Hold one line or row of an export file: its record, or the reason why it is invalid.

    Attributes:
        number: the number of the line, counted from 1 and with the header, or of the Parquet row, counted from 1.
        record: the record; None when the line is invalid.
        trouble: why the line is invalid; empty when it is valid.
    """

    number: int
    record: Record | None = None
    trouble: str = ""


class Writer(Protocol):
    """Write an export file in some format; the caller opens and closes the file."""

    def write(self, records: list[Record]) -> None:
        """Append records to the export file."""

    def finish(self) -> None:
        """Complete the export file after the last record, by the end line or footer of its format."""


class Reader(Protocol):
    """Read the records of an export file in some format.

    Attributes:
        header: the header of the export.
        read_bytes: the number of bytes read so far.
    """

    header: Header
    read_bytes: int

    def page(self) -> list[Entry]:
        """Return up to 1,000 more lines or rows, each as a record or an error; [] at the end."""

    def close(self) -> None:
        """Close the export file, unless the caller of the reader opened it."""


def sniff(start: bytes) -> FileFormat | None:
    """Return the format of an export file, given its first 4 KiB; None if it is no export."""
    if start.startswith(PARQUET_MAGIC):
        return "parquet"
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()[:_START_BYTES]
    return "jsonl" if text.startswith(b"{") and f'"{NAME}"'.encode() in text.partition(b"\n")[0] else None


class _MalformedRecordError(Exception):
    # Readers turn it into `Entry.trouble`.
    pass


FIELDS = (
    *("uid", "namespace", "model_id", "source", "session", "place"),
    *("created_at", "updated_at", "expires_at", "priority"),
)
"""The record fields that are written unchanged; `text` is a member beside `metadata`."""
_REQUIRED = ("uid", "namespace", "created_at", "updated_at")


def split_text(record: Record) -> tuple[str | None, Metadata]:
    """Return a record's text, or None, and its metadata without the `text` field."""
    text = record.text
    if text is None:
        return None, record.metadata
    return text, {name: value for name, value in record.metadata.items() if name != "text"}


def build_record(values: dict[str, Any], vector: Vector) -> Record:
    """Build a `Record` from its vector and the other values of a JSON line or Parquet row.

    The types of the other values are validated by `VectorStore.put`.

    Args:
        values: `text`, `metadata` and the `FIELDS` that are not null.
        vector: (dim,) float32; empty in an export without vectors.

    Raises:
        _MalformedRecordError: a member is missing, unknown or of the wrong type; the message says which.
    """
    values = dict(values)
    text, metadata = values.pop("text", None), values.pop("metadata", None)
    if text is not None and not isinstance(text, str):
        raise _MalformedRecordError("its 'text' is not a string")
    if not isinstance(metadata, dict | None):
        raise _MalformedRecordError("its 'metadata' is not an object")
    for name in _REQUIRED:
        if values.get(name) is None:
            raise _MalformedRecordError(f"it has no {name!r}")
    unknown = values.keys() - set(FIELDS)
    if unknown:
        raise _MalformedRecordError(f"it has the unknown member {min(unknown)!r}")
    rest: Metadata = metadata or {}
    members: dict[str, Any] = dict.fromkeys(FIELDS) | values
    return Record(vector=vector, metadata=rest if text is None else {"text": text, **rest}, **members)
