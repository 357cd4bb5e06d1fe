"""Export files in JSON lines: a header, a line per record or setting, and an end line."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from typing import IO, Any

import numpy as np
import orjson

from super_advanced_agents.stores.transfer.layout import (
    FIELDS,
    LINE_BYTES,
    Entry,
    Header,
    Item,
    Part,
    _MalformedRecordError,
    build_record,
    part_members,
    split_part,
    split_text,
)
from super_advanced_agents.types import Record, Vector

_PAGE_RECORDS = 1_000
_PAGE_BYTES = 32 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"


class JsonlWriter:
    """Write an export file in JSON lines: a header, a line per record, and an end line."""

    def __init__(self, file: IO[bytes], header: Header) -> None:
        self._file = file
        self._header = header
        self._written = self._items = 0
        file.write(header.encoded() + b"\n")

    def add_item(self, item: Item) -> None:
        """Append one JSON line with the settings of an agent or a collection."""
        self._file.write(orjson.dumps(item) + b"\n")
        self._items += 1

    def write(self, records: list[Record], part: Part) -> None:
        """Append one JSON line to the file for each record."""
        members = part_members(part, self._header)
        self._file.writelines(self._encode(record, members) for record in records)
        self._written += len(records)

    def finish(self) -> None:
        """Write the end line with the number of records, by which readers detect a truncated file."""
        settings = {"settings": self._items} if self._items else {}
        self._file.write(orjson.dumps({"end": True, "records": self._written, **settings}) + b"\n")

    def _encode(self, record: Record, members: dict[str, str | None]) -> bytes:
        text, rest = split_text(record)
        line: dict[str, object] = {"uid": record.uid, **members, "text": text, "metadata": rest or None}
        line.update((name, getattr(record, name)) for name in FIELDS)
        if self._header.vectors:
            line["vector"] = b64encode(record.vector.astype("<f4", copy=False).tobytes()).decode()
        # `text` is null in a record that has only a vector, so that every record has it.
        return (
            orjson.dumps({name: value for name, value in line.items() if value is not None or name == "text"}) + b"\n"
        )


class JsonlReader:
    """Read the records of an export file in JSON lines, in order, a page at a time.

    Args:
        file: the file, at the beginning of the export.
        owned: whether `close` closes the file.

    Raises:
        InvalidInputError: the header is missing, damaged, or of a newer version.
    """

    def __init__(self, file: IO[bytes], *, owned: bool = True) -> None:
        self.read_bytes = 0
        self._file = file
        self._owned = owned
        self._number = 0
        self._read_records = self._read_items = 0
        self._ended = False
        line, trouble = self._read_line()
        while line is not None and not trouble and not line.strip():
            line, trouble = self._read_line()
        self.header = Header.decoded((line or b"").removeprefix(_BOM))

    def page(self) -> list[Entry]:
        """Return up to 1,000 more lines of the file, each as a record or an error; [] at the end."""
        entries: list[Entry] = []
        read = 0
        while len(entries) < _PAGE_RECORDS and read < _PAGE_BYTES and not self._ended:
            line, trouble = self._read_line()
            if line is None:
                self._ended = True
                entries.append(Entry(number=self._number, trouble="the file ends here, without its last line"))
            elif trouble:
                self._read_records += 1
                entries.append(Entry(number=self._number, trouble=trouble))
            elif line.strip():
                read += len(line)
                entries += self._entries(line)
        return entries

    def close(self) -> None:
        """Close the file, unless the reader was made with `owned=False`."""
        if self._owned:
            self._file.close()

    def _entries(self, line: bytes) -> list[Entry]:
        self._read_records += 1
        try:
            value = orjson.loads(line)
            if not isinstance(value, dict):
                raise _MalformedRecordError("it is not an object")
            if "end" in value:
                self._ended = True
                return self._check_end(value)
            is_item = "kind" in value and self.header.version > 1
            if is_item:
                self._read_records -= 1
                self._read_items += 1
            part, value = split_part(value, self.header)
            if is_item:
                return [Entry(number=self._number, part=part, item=value)]
            vector = _decode_vector(value.pop("vector", None), has_vectors=self.header.vectors)
            return [Entry(number=self._number, part=part, record=build_record(value, vector))]
        except orjson.JSONDecodeError:
            return [Entry(number=self._number, trouble="it is not JSON")]
        except _MalformedRecordError as exc:
            return [Entry(number=self._number, trouble=str(exc))]

    def _check_end(self, end: dict[str, Any]) -> list[Entry]:
        entries = []
        expected, read = end.get("records"), self._read_records - 1
        for name, stated, count in (
            ("records", expected, read),
            ("settings", end.get("settings", 0), self._read_items),
        ):
            if stated != count:
                trouble = f"the export had {stated!r:.40} {name}, the file has {count}"
                entries.append(Entry(number=self._number, trouble=trouble))
        line, _ = self._read_line()
        while line is not None:
            if line.strip():
                entries.append(Entry(number=self._number, trouble="it comes after the last line"))
                break
            line, _ = self._read_line()
        return entries

    def _read_line(self) -> tuple[bytes | None, str]:
        # Returns (None, "") at the end of the file. An overlong line is cut, and comes with an error text.
        line = self._file.readline(LINE_BYTES)
        if not line:
            return None, ""
        self._number += 1
        size = len(line)
        part = line
        while not part.endswith(b"\n") and len(part) == LINE_BYTES:
            part = self._file.readline(LINE_BYTES)
            size += len(part)
        self.read_bytes += size
        return line, f"the line is longer than {LINE_BYTES} bytes" if size > LINE_BYTES else ""


def _decode_vector(encoded: Any, *, has_vectors: bool) -> Vector:
    # The package writes base64 of little-endian float32; lists of numbers are accepted from other tools.
    if not has_vectors:
        return np.empty(0, np.float32)
    if isinstance(encoded, str):
        try:
            return np.frombuffer(b64decode(encoded, validate=True), dtype="<f4").astype(np.float32)
        except (binascii.Error, ValueError) as exc:
            raise _MalformedRecordError("its 'vector' is not base64 of float32 numbers") from exc
    if isinstance(encoded, list) and all(type(number) in (int, float) for number in encoded):
        with np.errstate(over="ignore"):
            return np.array(encoded, dtype=np.float32)
    raise _MalformedRecordError(
        "it has no 'vector'" if encoded is None else "its 'vector' is neither base64 nor a list of numbers"
    )
