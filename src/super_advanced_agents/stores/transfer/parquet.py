"""Exports as Parquet, by pyarrow (the extra `parquet`): a column for each field, the header in the file's metadata."""

from __future__ import annotations

from typing import IO, Any

import numpy as np
import orjson

from super_advanced_agents.errors import ConfigurationError, InvalidInputError
from super_advanced_agents.stores.transfer.layout import FIELDS, NAME, Entry, Header, _NoRecordError, record_of, split
from super_advanced_agents.types import Record, Vector

_GROUP_RECORDS = 10_000
_GROUP_BYTES = 32 * 1024 * 1024
_PAGE_RECORDS = 1_000
_KEY = NAME.encode()
_TYPES = {"place": "int64"} | dict.fromkeys(("created_at", "updated_at", "expires_at", "priority"), "float64")


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as exc:
        raise ConfigurationError(
            "Parquet needs pyarrow, which is not installed", hint="pip install 'super-advanced-agents[parquet]'"
        ) from exc
    return pa, pq


class ParquetWriter:
    """Writes an export; see `layout.Writer`."""

    def __init__(self, file: IO[bytes], header: Header) -> None:
        self._pa, pq = _pyarrow()
        self._header = header
        self._waiting: list[Record] = []
        self._waiting_bytes = 0
        self._schema = self._made_schema()
        self._writer = pq.ParquetWriter(
            file, self._schema, compression="zstd", use_dictionary=["namespace", "model_id", "source", "session"],
            write_page_checksum=True,
        )  # fmt: skip

    def write(self, records: list[Record]) -> None:
        """Write some more."""
        self._waiting += records
        self._waiting_bytes += sum(record.vector.nbytes + len(record.text or "") for record in records)
        if len(self._waiting) >= _GROUP_RECORDS or self._waiting_bytes >= _GROUP_BYTES:
            self._write_group()

    def finish(self) -> None:
        """Write what waits, and the file's own directory."""
        self._write_group()
        self._writer.close()

    def _made_schema(self) -> Any:
        pa = self._pa
        named = [("text", pa.string()), ("metadata", pa.string())]
        named += [(name, pa.type_for_alias(_TYPES.get(name, "string"))) for name in FIELDS]
        if self._header.vectors:
            named.append(("vector", pa.list_(pa.float32(), self._header.dim)))
        return pa.schema(named, metadata={_KEY: self._header.encoded()})

    def _write_group(self) -> None:
        records, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if not records:
            return
        pa = self._pa
        halves = [split(record) for record in records]
        columns = {
            "text": [text for text, _ in halves],
            "metadata": [orjson.dumps(rest).decode() for _, rest in halves],
            **{name: [getattr(record, name) for record in records] for name in FIELDS},
        }
        arrays = [pa.array(values, self._schema.field(name).type) for name, values in columns.items()]
        if self._header.vectors:
            numbers = pa.array(np.concatenate([record.vector for record in records]))
            arrays.append(pa.FixedSizeListArray.from_arrays(numbers, self._header.dim))
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema), row_group_size=len(records))


class ParquetReader:
    """Reads an export; see `layout.Reader`."""

    def __init__(self, file: IO[bytes]) -> None:
        self.read_bytes = 0
        self._pa, pq = _pyarrow()
        self._file = file
        self._number = 0
        try:
            self._parquet = pq.ParquetFile(file, page_checksum_verification=True)
            metadata = self._parquet.schema_arrow.metadata or {}
        except (self._pa.ArrowException, OSError) as exc:
            raise InvalidInputError("the Parquet file is damaged or cut short", hint="export again") from exc
        if _KEY not in metadata:
            raise InvalidInputError("the Parquet file is no export of this package", hint="see docs/export-format.md")
        self.header = Header.decoded(metadata[_KEY])
        self._batches = self._parquet.iter_batches(batch_size=_PAGE_RECORDS)

    def page(self) -> list[Entry]:
        """Some more, at most 1,000; none at the end."""
        try:
            batch = next(self._batches, None)
        except (self._pa.ArrowException, OSError) as exc:
            raise InvalidInputError(
                f"the Parquet file is damaged after row {self._number}", hint="what came before is stored; export again"
            ) from exc
        self.read_bytes = max(self.read_bytes, self._file.tell())
        return [] if batch is None else self._entries(batch)

    def close(self) -> None:
        """Let go of the file."""
        self._parquet.close()
        self._file.close()

    def _entries(self, batch: Any) -> list[Entry]:
        names = [name for name in batch.schema.names if name != "vector"]
        columns = {name: batch.column(name).to_pylist() for name in names}
        vectors = self._vectors(batch)
        entries = []
        for i in range(batch.num_rows):
            self._number += 1
            values = {name: column[i] for name, column in columns.items() if column[i] is not None}
            try:
                entries.append(Entry(number=self._number, record=_record(values, vectors[i])))
            except _NoRecordError as exc:
                entries.append(Entry(number=self._number, trouble=str(exc)))
        return entries

    def _vectors(self, batch: Any) -> list[Vector]:
        if not self.header.vectors:
            return [np.empty(0, np.float32)] * int(batch.num_rows)
        try:
            column = batch.column("vector")
            column = column.cast(self._pa.list_(self._pa.float32(), self.header.dim))  # what other tools made variable
            if column.null_count:
                raise ValueError("vector")
            matrix = column.flatten().to_numpy(zero_copy_only=False).reshape(batch.num_rows, self.header.dim)
        except (KeyError, ValueError, self._pa.ArrowException) as exc:
            raise InvalidInputError("the column 'vector' is missing or of another type", field="vector") from exc
        return list(matrix)


def _record(values: dict[str, Any], vector: Vector) -> Record:
    metadata = values.pop("metadata", None)
    if metadata is not None:
        try:
            values["metadata"] = orjson.loads(metadata)
        except orjson.JSONDecodeError:
            raise _NoRecordError("its 'metadata' is not JSON") from None
    return record_of(values, vector)
