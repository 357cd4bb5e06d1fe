"""The content of an export file, in JSON lines or Parquet: a header, and records."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Protocol, TypeAlias

import orjson

from super_advanced_agents.config import DEFAULT_TENANT, checked_name
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.types import Metadata, Record, Vector

FileFormat: TypeAlias = Literal["jsonl", "parquet"]
"""The format of an export file."""

NAME = "super-advanced-agents/export"
VERSION = 2
"""Version 1 did not tell the tenant of a record, and had no collections and no settings."""
PARQUET_MAGIC = b"PAR1"
LINE_BYTES = 1 << 20
"""The longest line accepted; the largest record within the default limits has about 440 KiB."""
_START_BYTES = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Describe an export file: vector length, metric, tenant, namespace and time of the export.

    Attributes:
        dim: the length of every vector, except those of collections.
        metric: the store's metric, `"cosine"` or `"dot"`; None when the store does not report one.
        vectors: whether the export holds the vectors.
        namespace: the namespace that was exported; None for all of them.
        created_at: the time of the export, in seconds since the epoch.
        tenant: the only tenant in the export; None when there are several, and each record tells its own.
        version: the version of the format.
    """

    dim: int
    metric: str | None
    vectors: bool
    namespace: str | None
    created_at: float
    tenant: str | None = DEFAULT_TENANT
    version: int = VERSION

    def encoded(self) -> bytes:
        """Encode the header as one line of JSON."""
        return orjson.dumps({"format": NAME, **asdict(self)})

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
            version = members["version"]
            if type(version) is not int or version < 1:
                raise ValueError("version")
            if version > VERSION:
                raise InvalidInputError(
                    f"the export is of version {members['version']}, this version of the package knows {VERSION}",
                    hint="upgrade super-advanced-agents",
                )
            if version == 1:  # version 1 knew no tenants: all records belong to the default tenant
                members["tenant"] = DEFAULT_TENANT
            header = cls(**{field.name: members[field.name] for field in fields(cls)})
            if type(header.dim) is not int or header.dim < 1 or type(header.vectors) is not bool:
                raise ValueError("dim")
            if not isinstance(header.namespace, str | None) or header.metric not in (None, "cosine", "dot"):
                raise ValueError("namespace")
            if header.tenant is not None:
                checked_name(header.tenant, "tenant")
            return header
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise InvalidInputError("the export's header is damaged", hint="export again") from exc


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Name a part of an export: the memories of one tenant's agents, or one collection.

    Attributes:
        tenant: the tenant.
        collection: the collection's name; None for the memories of agents.
    """

    tenant: str = DEFAULT_TENANT
    collection: str | None = None


Item: TypeAlias = "dict[str, Any]"
"""The settings of an agent or a collection in an export; its `kind` tells which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Hold one line or row of an export: a record, an item of settings, or why it is invalid.

    Attributes:
        number: the number of the line, counted from 1 and with the header, or of the Parquet row, counted from 1.
        record: the record; None when the line is invalid, or holds settings.
        part: the part of the export that the record or the settings belong to.
        item: the settings of an agent or a collection; its members are not checked.
        trouble: why the line is invalid; empty when it is valid.
    """

    number: int
    record: Record | None = None
    part: Part = Part()
    item: Item | None = None
    trouble: str = ""


class Writer(Protocol):
    """Write an export file in one format; the caller opens and closes the file."""

    def add_item(self, item: Item) -> None:
        """Append the settings of an agent or a collection."""

    def write(self, records: list[Record], part: Part) -> None:
        """Append records of one part to the export file."""

    def finish(self) -> None:
        """Complete the export file after the last record, by the end line or footer of its format."""


class Reader(Protocol):
    """Read the records of an export file in one format.

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
PART_FIELDS = ("tenant", "collection")
"""The members that tell the part of a record; a tenant that the header names is left out."""
_REQUIRED = ("uid", "namespace", "created_at", "updated_at")


def split_text(record: Record) -> tuple[str | None, Metadata]:
    """Return a record's text, or None, and its metadata without the `text` field."""
    text = record.text
    if text is None:
        return None, record.metadata
    return text, {name: value for name, value in record.metadata.items() if name != "text"}


def split_part(values: dict[str, Any], header: Header) -> tuple[Part, dict[str, Any]]:
    """Return the part that a line or row belongs to, and its other members.

    Raises:
        _MalformedRecordError: the tenant or the collection is not valid, or not the one that the header names.
    """
    if header.version == 1:
        return Part(), values
    tenant, collection = values.get("tenant"), values.get("collection")
    if tenant is None:
        tenant = header.tenant
    elif header.tenant is not None and tenant != header.tenant:
        raise _MalformedRecordError("its 'tenant' is not that of the export")
    if tenant is None:
        raise _MalformedRecordError("it has no 'tenant'")
    try:
        checked_name(tenant, "tenant")
        if collection is not None:
            checked_name(collection, "collection")
    except InvalidInputError as exc:
        raise _MalformedRecordError(f"its {exc.field!r} is not a name") from None
    part = Part(tenant=tenant, collection=collection)
    return part, {name: value for name, value in values.items() if name not in PART_FIELDS}


def part_members(part: Part, header: Header) -> dict[str, str | None]:
    """Return the members of a record that tell its part, as `split_part` reads them."""
    return {"tenant": part.tenant if header.tenant is None else None, "collection": part.collection}


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
