"""Export files in Parquet: one column per record field, and the header as file metadata."""

from __future__ import annotations

import itertools
from typing import IO, Any

import numpy as np
import orjson

from super_advanced_agents.errors import ConfigurationError, InvalidInputError
from super_advanced_agents.stores.transfer.layout import (
    FIELDS,
    NAME,
    PART_FIELDS,
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

_GROUP_RECORDS = 10_000
_GROUP_BYTES = 32 * 1024 * 1024
_PAGE_RECORDS = 1_000
_HEADER_KEY = NAME.encode()
_ITEMS_KEY = f"{NAME}-settings".encode()
_COLUMN_TYPES = {"place": "int64"} | dict.fromkeys(("created_at", "updated_at", "expires_at", "priority"), "float64")


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
    """Write an export file in Parquet, with one row per record and the header as metadata."""

    def __init__(self, file: IO[bytes], header: Header) -> None:
        self._pa, pq = _pyarrow()
        self._header = header
        self._pending: list[tuple[Record, Part]] = []
        self._items: list[Item] = []
        self._pending_bytes = 0
        self._schema = self._build_schema()
        self._writer = pq.ParquetWriter(
            file, self._schema, compression="zstd", write_page_checksum=True,
            use_dictionary=[*PART_FIELDS, "namespace", "model_id", "source", "session"],
        )  # fmt: skip

    def add_item(self, item: Item) -> None:
        """Keep the settings of an agent or a collection, for the file's metadata."""
        self._items.append(item)

    def write(self, records: list[Record], part: Part) -> None:
        """Buffer records, and write a row group when 10,000 records or 32 MiB are buffered."""
        self._pending += ((record, part) for record in records)
        self._pending_bytes += sum(record.vector.nbytes + len(record.text or "") for record in records)
        if len(self._pending) >= _GROUP_RECORDS or self._pending_bytes >= _GROUP_BYTES:
            self._write_group()

    def finish(self) -> None:
        """Write the buffered records and the Parquet footer."""
        self._write_group()
        self._writer.add_key_value_metadata({_ITEMS_KEY: orjson.dumps(self._items)})
        self._writer.close()

    def _build_schema(self) -> Any:
        pa = self._pa
        columns = [(name, pa.string()) for name in PART_FIELDS]
        columns += [("text", pa.string()), ("metadata", pa.string())]
        columns += [(name, pa.type_for_alias(_COLUMN_TYPES.get(name, "string"))) for name in FIELDS]
        if self._header.vectors:
            columns.append(("vector", pa.list_(pa.float32())))  # those of a collection may have another length
        return pa.schema(columns, metadata={_HEADER_KEY: self._header.encoded()})

    def _write_group(self) -> None:
        pending, self._pending, self._pending_bytes = self._pending, [], 0
        if not pending:
            return
        pa = self._pa
        records = [record for record, _ in pending]
        parts = [part_members(part, self._header) for _, part in pending]
        texts = [split_text(record) for record in records]
        columns = {
            **{name: [part[name] for part in parts] for name in PART_FIELDS},
            "text": [text for text, _ in texts],
            "metadata": [orjson.dumps(rest).decode() for _, rest in texts],
            **{name: [getattr(record, name) for record in records] for name in FIELDS},
        }
        arrays = [pa.array(values, self._schema.field(name).type) for name, values in columns.items()]
        if self._header.vectors:
            numbers = pa.array(np.concatenate([record.vector for record in records]))
            ends = np.cumsum([0, *(len(record.vector) for record in records)], dtype=np.int32)
            arrays.append(pa.ListArray.from_arrays(pa.array(ends), numbers))
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema), row_group_size=len(records))


class ParquetReader:
    """Read the records of an export file in Parquet, in order, a page at a time."""

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
        if _HEADER_KEY not in metadata:
            raise InvalidInputError("the Parquet file is no export of this package", hint="see docs/export-format.md")
        self.header = Header.decoded(metadata[_HEADER_KEY])
        self._items = _decode_items((self._parquet.metadata.metadata or {}).get(_ITEMS_KEY, b"[]"))
        self._batches = self._parquet.iter_batches(batch_size=_PAGE_RECORDS)

    def page(self) -> list[Entry]:
        """Return up to 1,000 more rows of the file, each as a record or an error; [] at the end.

        The settings of agents and collections come first.
        """
        if self._items:
            items, self._items = self._items[:_PAGE_RECORDS], self._items[_PAGE_RECORDS:]
            return [self._item_entry(item) for item in items]
        try:
            batch = next(self._batches, None)
        except (self._pa.ArrowException, OSError) as exc:
            raise InvalidInputError(
                f"the Parquet file is damaged after row {self._number}",
                hint="the rows before it are stored; export again",
            ) from exc
        self.read_bytes = max(self.read_bytes, self._file.tell())
        return [] if batch is None else self._entries(batch)

    def close(self) -> None:
        """Close the Parquet file."""
        self._parquet.close()
        self._file.close()

    def _item_entry(self, item: Any) -> Entry:
        try:
            if not isinstance(item, dict):
                raise _MalformedRecordError("it is not an object")
            part, members = split_part(item, self.header)
            return Entry(number=0, part=part, item=members)
        except _MalformedRecordError as exc:
            return Entry(number=0, trouble=str(exc))

    def _entries(self, batch: Any) -> list[Entry]:
        names = [name for name in batch.schema.names if name != "vector"]
        columns = {name: batch.column(name).to_pylist() for name in names}
        vectors = self._vectors(batch)
        entries = []
        for i in range(batch.num_rows):
            self._number += 1
            values = {name: column[i] for name, column in columns.items() if column[i] is not None}
            try:
                part, values = split_part(values, self.header)
                entries.append(Entry(number=self._number, part=part, record=_record(values, vectors[i])))
            except _MalformedRecordError as exc:
                entries.append(Entry(number=self._number, trouble=str(exc)))
        return entries

    def _vectors(self, batch: Any) -> list[Vector]:
        if not self.header.vectors:
            return [np.empty(0, np.float32)] * int(batch.num_rows)
        try:
            column = batch.column("vector").cast(self._pa.list_(self._pa.float32()))  # of any kind of list
            ends, numbers = column.offsets.to_numpy(), column.values.to_numpy(zero_copy_only=False)
            if column.null_count or column.values.null_count:
                raise ValueError("vector")
        except (KeyError, ValueError, self._pa.ArrowException) as exc:
            raise InvalidInputError("the column 'vector' is missing or of another type", field="vector") from exc
        return [numbers[start:end] for start, end in itertools.pairwise(ends)]


def _decode_items(content: bytes) -> list[Any]:
    try:
        items = orjson.loads(content)
        if not isinstance(items, list):
            raise TypeError("items")
    except (ValueError, TypeError) as exc:
        raise InvalidInputError("the export's settings are damaged", hint="export again") from exc
    return items


def _record(values: dict[str, Any], vector: Vector) -> Record:
    metadata = values.pop("metadata", None)
    if metadata is not None:
        try:
            values["metadata"] = orjson.loads(metadata)
        except orjson.JSONDecodeError:
            raise _MalformedRecordError("its 'metadata' is not JSON") from None
    return build_record(values, vector)
