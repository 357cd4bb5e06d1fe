"""Exports as JSON lines: a header, a record a line, and a last line that tells a whole file from one cut short."""

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
    _NoRecordError,
    record_of,
    split,
)
from super_advanced_agents.types import Record, Vector

_PAGE_RECORDS = 1_000
_PAGE_BYTES = 32 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"


class JsonlWriter:
    """Writes an export; see `layout.Writer`."""

    def __init__(self, file: IO[bytes], header: Header) -> None:
        self._file = file
        self._vectors = header.vectors
        self._written = 0
        file.write(header.encoded() + b"\n")

    def write(self, records: list[Record]) -> None:
        """Write some more."""
        self._file.writelines(self._line(record) for record in records)
        self._written += len(records)

    def finish(self) -> None:
        """Write the last line."""
        self._file.write(orjson.dumps({"end": True, "records": self._written}) + b"\n")

    def _line(self, record: Record) -> bytes:
        text, rest = split(record)
        line: dict[str, object] = {"uid": record.uid, "text": text, "metadata": rest or None}
        line.update((name, getattr(record, name)) for name in FIELDS)
        if self._vectors:
            line["vector"] = b64encode(record.vector.astype("<f4", copy=False).tobytes()).decode()
        return orjson.dumps({name: value for name, value in line.items() if value is not None}) + b"\n"


class JsonlReader:
    """Reads an export once, from its beginning; see `layout.Reader`.

    Args:
        file: at the beginning of the export.
        owned: whether `close` closes the file.
    """

    def __init__(self, file: IO[bytes], *, owned: bool = True) -> None:
        self.read_bytes = 0
        self._file = file
        self._owned = owned
        self._number = 0
        self._seen = 0
        self._ended = False
        line, trouble = self._line()
        while line is not None and not trouble and not line.strip():
            line, trouble = self._line()
        self.header = Header.decoded((line or b"").removeprefix(_BOM))

    def page(self) -> list[Entry]:
        """Some more, at most 1,000; none at the end."""
        entries: list[Entry] = []
        read = 0
        while len(entries) < _PAGE_RECORDS and read < _PAGE_BYTES and not self._ended:
            line, trouble = self._line()
            if line is None:
                self._ended = True
                entries.append(Entry(number=self._number, trouble="the file ends here, without its last line"))
            elif trouble:
                self._seen += 1
                entries.append(Entry(number=self._number, trouble=trouble))
            elif line.strip():
                read += len(line)
                entries += self._entries(line)
        return entries

    def close(self) -> None:
        """Let go of the file."""
        if self._owned:
            self._file.close()

    def _entries(self, line: bytes) -> list[Entry]:
        self._seen += 1
        try:
            value = orjson.loads(line)
            if not isinstance(value, dict):
                raise _NoRecordError("it is not an object")
            if "end" in value:
                self._ended = True
                return self._after_the_end(value.get("records"))
            vector = _vector(value.pop("vector", None), wanted=self.header.vectors)
            return [Entry(number=self._number, record=record_of(value, vector))]
        except orjson.JSONDecodeError:
            return [Entry(number=self._number, trouble="it is not JSON")]
        except _NoRecordError as exc:
            return [Entry(number=self._number, trouble=str(exc))]

    def _after_the_end(self, told: object) -> list[Entry]:
        entries = []
        if told != self._seen - 1:
            trouble = f"the export had {told!r:.40} records, the file has {self._seen - 1}"
            entries.append(Entry(number=self._number, trouble=trouble))
        line, _ = self._line()
        while line is not None:
            if line.strip():
                entries.append(Entry(number=self._number, trouble="it comes after the last line"))
                break
            line, _ = self._line()
        return entries

    def _line(self) -> tuple[bytes | None, str]:
        """The next line, None at the end; what is too long is skipped and comes with its trouble."""
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


def _vector(given: Any, *, wanted: bool) -> Vector:
    """The vector of a line: base64 of float32 in little-endian order, or a list of numbers."""
    if not wanted:
        return np.empty(0, np.float32)
    if isinstance(given, str):
        try:
            return np.frombuffer(b64decode(given, validate=True), dtype="<f4").astype(np.float32)
        except (binascii.Error, ValueError) as exc:
            raise _NoRecordError("its 'vector' is not base64 of float32 numbers") from exc
    if isinstance(given, list) and all(type(number) in (int, float) for number in given):
        with np.errstate(over="ignore"):
            return np.array(given, dtype=np.float32)
    raise _NoRecordError(
        "it has no 'vector'" if given is None else "its 'vector' is neither base64 nor a list of numbers"
    )
