"""Vector engines behind one interface: this project's store, raw FAISS, and embedded peers.

Each engine is used as its documentation advises. Each holds the same vectors under the same numbers with the same
payloads, compares by the cosine, and returns numbers, scores and payloads as Python objects; only raw FAISS, which has
no payloads, returns arrays.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmarks.vectors import DIM, K, payloads
from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.types import Match, Matrix, Vector

_BUSY = ("sealing", "merging", "compacting")


class Engine(ABC):
    """One engine over one folder, which it creates or opens again.

    Attributes:
        title: the engine's name in the table.
        how: the way the engine is used, for the details of the table.
        packages: the packages that it needs.
        durability: the durability of `add` and `sync`.
        bulk: the number of rows in one call of `add` while a store is built.
    """

    title: ClassVar[str]
    how: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()
    durability: ClassVar[str] = "each call is synced"
    bulk: ClassVar[int] = 1_000

    @abstractmethod
    def add(self, start: int, vectors: Matrix) -> None:
        """Add rows numbered from `start`, with their payloads, in one call."""

    @abstractmethod
    def search_one(self, query: Vector, group: int | None = None) -> Any:
        """Search the 10 nearest rows, of a group if it is given, by the engine's call for one query."""

    @abstractmethod
    def search_many(self, queries: Matrix, group: int | None = None) -> Any:
        """Search the 10 nearest rows of each query by the engine's call for several queries."""

    @abstractmethod
    def row_numbers(self, found: Any) -> list[list[int]]:
        """Return the row numbers of the result of `search_many`, a list for each query."""

    @abstractmethod
    def close(self) -> None:
        """Close the engine and release its folder."""

    async def asearch_one(self, query: Vector, group: int | None = None) -> Any:
        """Search the 10 nearest rows on an event loop, in a thread where asyncio has no client."""
        return await asyncio.to_thread(self.search_one, query, group)

    def sync(self) -> None:
        """Make the last `add` durable, where the engine leaves that to its user."""
        return

    def finish(self) -> None:
        """Build the index after the last row, or wait for it."""
        return

    def set_effort(self, ef: int) -> None:
        """Set the number of candidates (`ef`) that a search of the graph keeps."""
        raise NotImplementedError


class Ours(Engine):
    """The store of this project with its defaults; its `ef` cannot be set."""

    title = "ours"
    how = "FAISSVectorStore with its defaults"

    def __init__(self, folder: Path, **options: Any) -> None:
        self.store = FAISSVectorStore(DIM, folder / "store", **options)

    def add(self, start: int, vectors: Matrix) -> None:
        names = [str(i) for i in range(start, start + len(vectors))]
        self.store.add_batch(vectors, payloads(start, len(vectors)), names)

    def finish(self) -> None:
        wait_until_quiet(self.store)

    def search_one(self, query: Vector, group: int | None = None) -> list[Match]:
        return self.store.search(query, K, where=None if group is None else {"group": group})

    def search_many(self, queries: Matrix, group: int | None = None) -> list[list[Match]]:
        return self.store.search_batch(queries, K, where=None if group is None else {"group": group})

    async def asearch_one(self, query: Vector, group: int | None = None) -> list[Match]:
        return await self.store.asearch(query, K, where=None if group is None else {"group": group})

    def row_numbers(self, found: list[list[Match]]) -> list[list[int]]:
        return [[int(match.uid) for match in matches] for matches in found]

    def close(self) -> None:
        self.store.close()


class RawFaiss(Engine):
    """The FAISS index alone: no payloads, no durability, rows numbered in the order of adding."""

    title = "raw FAISS HNSW"
    packages = ("faiss",)
    durability = "nothing is kept"
    how = "IndexHNSWFlat, M = 32, efConstruction = 80, inner product; arrays of numbers and scores"
    bulk = 10_000

    def __init__(self, folder: Path) -> None:
        import faiss

        self._faiss = faiss
        self._file = folder / "index.faiss"
        if self._file.exists():
            self._index = faiss.read_index(str(self._file))
        else:
            self._index = faiss.IndexHNSWFlat(DIM, 32, faiss.METRIC_INNER_PRODUCT)
            self._index.hnsw.efConstruction = 80

    def add(self, start: int, vectors: Matrix) -> None:
        self._index.add(vectors)

    def finish(self) -> None:
        self._faiss.write_index(self._index, str(self._file))

    def set_effort(self, ef: int) -> None:
        self._index.hnsw.efSearch = ef

    def search_one(self, query: Vector, group: int | None = None) -> Any:
        return self._index.search(query[None], K)

    def search_many(self, queries: Matrix, group: int | None = None) -> Any:
        return self._index.search(queries, K)

    def row_numbers(self, found: Any) -> list[list[int]]:
        return found[1].tolist()

    def close(self) -> None:
        del self._index


class Chroma(Engine):
    """Chroma's embedded client, which indexes every payload field; the text is the document."""

    title = "Chroma"
    packages = ("chromadb",)
    how = (
        "PersistentClient, default HNSW (max_neighbors 16, ef_construction 100, num_threads all), space cosine; "
        "ef_search by collection.modify and opening again, since an open collection keeps the old one; "
        "asyncio by threads, since the embedded client has nothing for it"
    )
    bulk = 5_000  # client.get_max_batch_size() is 5,461

    def __init__(self, folder: Path) -> None:
        import chromadb

        self._chromadb = chromadb
        self._folder = folder
        self._open()

    def _open(self) -> None:
        from chromadb.config import Settings

        self._client = self._chromadb.PersistentClient(str(self._folder), Settings(anonymized_telemetry=False))
        if "memories" in [collection.name for collection in self._client.list_collections()]:
            self._collection = self._client.get_collection("memories", embedding_function=None)
        else:
            self._collection = self._client.create_collection(
                "memories", embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
            )

    def add(self, start: int, vectors: Matrix) -> None:
        records = payloads(start, len(vectors))
        self._collection.add(
            ids=[str(i) for i in range(start, start + len(vectors))],
            embeddings=vectors,
            metadatas=[{"type": record["type"], "group": record["group"]} for record in records],
            documents=[record["text"] for record in records],
        )

    def finish(self) -> None:
        # A query indexes the records that are still in Chroma's buffer.
        self._collection.query(query_embeddings=np.ones((1, DIM), np.float32), n_results=1)

    def set_effort(self, ef: int) -> None:
        self._collection.modify(configuration={"hnsw": {"ef_search": ef}})
        self._client.close()
        self._open()

    def search_one(self, query: Vector, group: int | None = None) -> Any:
        return self.search_many(query[None], group)

    def search_many(self, queries: Matrix, group: int | None = None) -> Any:
        return self._collection.query(
            query_embeddings=queries, n_results=K, where=None if group is None else {"group": group}
        )

    def row_numbers(self, found: Any) -> list[list[int]]:
        return [[int(name) for name in names] for names in found["ids"]]

    def close(self) -> None:
        self._client.close()


class Lance(Engine):
    """LanceDB's embedded tables: a list of queries is a batch; asyncio has its own client."""

    title = "LanceDB"
    packages = ("lancedb", "pyarrow")
    durability = "nothing is synced"
    how = (
        "embedded table, loaded as Arrow, optimize(), then HNSW without quantization (its index of highest recall) "
        "in one partition with the default m 20 and ef_construction 300, cosine; bitmap index on the filtered "
        "column, prefilter; to_list() without the vectors; asyncio by its asynchronous client"
    )
    bulk = 10_000
    _FIELDS: ClassVar = ["id", "type", "text", "group", "_distance"]

    def __init__(self, folder: Path) -> None:
        import lancedb
        import pyarrow as pa

        self._lancedb, self._arrow = lancedb, pa
        self._folder = str(folder)
        self._ef: int | None = None
        self._schema = pa.schema(
            {
                "id": pa.int64(),
                "vector": pa.list_(pa.float32(), DIM),
                "type": pa.string(),
                "text": pa.string(),
                "group": pa.int32(),
            }
        )
        self._table = lancedb.connect(self._folder).create_table("memories", schema=self._schema, exist_ok=True)
        self._async_table: Any = None

    def add(self, start: int, vectors: Matrix) -> None:
        records = payloads(start, len(vectors))
        columns = {name: [record[name] for record in records] for name in ("type", "text", "group")}
        columns["id"] = np.arange(start, start + len(vectors))
        columns["vector"] = self._arrow.FixedSizeListArray.from_arrays(self._arrow.array(vectors.ravel()), DIM)
        self._table.add(self._arrow.table(columns, schema=self._schema))

    def finish(self) -> None:
        from lancedb.index import Bitmap, HnswFlat

        self._table.optimize()
        self._table.create_index("vector", config=HnswFlat(distance_type="cosine", num_partitions=1))
        self._table.create_index("group", config=Bitmap())

    def set_effort(self, ef: int) -> None:
        self._ef = ef

    def search_one(self, query: Vector, group: int | None = None) -> Any:
        return self._with_options(self._table.search(query), group).to_list()

    def search_many(self, queries: Matrix, group: int | None = None) -> Any:
        found: list[list[Any]] = [[] for _ in queries]
        for row in self._with_options(self._table.search(list(queries)), group).to_list():
            found[row.get("query_index", 0)].append(row)
        return found

    async def asearch_one(self, query: Vector, group: int | None = None) -> Any:
        if self._async_table is None:
            connection = await self._lancedb.connect_async(self._folder)
            self._async_table = await connection.open_table("memories")
        return await self._with_options(self._async_table.query().nearest_to(query), group).to_list()

    def _with_options(self, search: Any, group: int | None) -> Any:
        search = search.distance_type("cosine").limit(K).select(self._FIELDS)
        if self._ef is not None:
            search = search.ef(self._ef)
        return search if group is None else search.where(f"`group` = {group}")  # a prefilter by default

    def row_numbers(self, found: Any) -> list[list[int]]:
        return [[row["id"] for row in rows] for rows in found]

    def close(self) -> None:
        del self._table, self._async_table


class Qdrant(Engine):
    """Qdrant's engine embedded in this process."""

    title = "qdrant-edge"
    packages = ("qdrant_edge",)
    durability = "flush() after each call"
    how = (
        "EdgeShard, default HNSW (m 16, ef_construct 100), one segment after optimize(), payload in memory, "
        "integer index on the filtered field from the beginning; asyncio by threads, since it has nothing for it"
    )

    def __init__(self, folder: Path) -> None:
        import qdrant_edge

        self._edge = edge = qdrant_edge
        self._params: Any = None
        if (folder / "edge_config.json").exists():
            self._shard = edge.EdgeShard.load(str(folder))
            return
        config = edge.EdgeConfig(
            vectors=edge.EdgeVectorParams(size=DIM, distance=edge.Distance.Cosine),
            optimizers=edge.EdgeOptimizersConfig(default_segment_number=1, max_segment_size=100_000_000),
            payload_memory=edge.Memory.Cached,
        )
        self._shard = edge.EdgeShard.create(str(folder), config)
        self._shard.update(edge.UpdateOperation.create_field_index("group", edge.PayloadSchemaType.Integer))

    def add(self, start: int, vectors: Matrix) -> None:
        numbered = zip(vectors.tolist(), payloads(start, len(vectors)), strict=True)
        points = [self._edge.Point(i, vector, payload) for i, (vector, payload) in enumerate(numbered, start)]
        self._shard.update(self._edge.UpdateOperation.upsert_points(points))

    def sync(self) -> None:
        self._shard.flush()  # update() survives a killed process, but writes its log without syncing

    def finish(self) -> None:
        self._shard.optimize()
        self._shard.flush()

    def set_effort(self, ef: int) -> None:
        self._params = self._edge.SearchParams(hnsw_ef=ef)

    def search_one(self, query: Vector, group: int | None = None) -> Any:
        return self._read(self._shard.query(self._request(query, group)))

    def search_many(self, queries: Matrix, group: int | None = None) -> Any:
        requests = [self._request(query, group) for query in queries]
        found = self._shard.query_batch(self._edge.QueryBatchRequest(requests))
        return [self._read(points) for points in found]

    def _request(self, query: Vector, group: int | None) -> Any:
        edge, filter_ = self._edge, None
        if group is not None:
            filter_ = edge.Filter(must=[edge.FieldCondition("group", match=edge.MatchValue(group))])
        return edge.QueryRequest(
            limit=K, query=edge.Query.Nearest(query.tolist()), filter=filter_, params=self._params, with_payload=True
        )

    def _read(self, points: Any) -> list[tuple[Any, ...]]:
        # Reading an attribute makes the Python object.
        return [(point.id, point.score, point.payload) for point in points]

    def row_numbers(self, found: Any) -> list[list[int]]:
        return [[point[0] for point in points] for points in found]

    def close(self) -> None:
        self._shard.close()


PEERS: dict[str, type[Engine]] = {"chroma": Chroma, "lancedb": Lance, "qdrant-edge": Qdrant}
ENGINES: dict[str, type[Engine]] = {"ours": Ours, "faiss": RawFaiss, **PEERS}


def wait_until_quiet(store: FAISSVectorStore, limit_s: float = 7_200.0) -> float:
    """Wait until the store's background work is done, and return the seconds it took.

    The store counts as quiet after two seconds without a busy counter, without a change, and with hardly any processor
    time of this process: a graph that is being built shows only there. The program must do nothing else meanwhile.
    """
    began = changed = time.perf_counter()
    before: tuple[object, ...] = ()
    while (checked := time.perf_counter()) - began < limit_s:
        computed_s = time.process_time()
        stats = store.stats()
        current = (stats["segments"], stats["tail_rows"])
        time.sleep(0.2)
        computing = time.process_time() - computed_s > 0.3 * (time.perf_counter() - checked)
        if computing or current != before or any(stats.get(name) for name in _BUSY):
            before, changed = current, time.perf_counter()
        elif time.perf_counter() - changed > 2.0:
            return changed - began
    raise TimeoutError(f"the store was not quiet after {limit_s:.0f} s: {store.stats()}")
