"""Ours and its peers behind one small face, each used as its documentation says it is best used.

Each keeps the same vectors under the same numbers with the same payload, compares by the cosine, and answers with
numbers, scores and payloads as Python objects; only raw FAISS, which knows no payloads, answers with arrays.
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
    """One engine over one folder, which it makes or finds again.

    `how` says in which way it is used, for the table's details; `packages` are loaded when one is made; `lasting` says
    what of `add` and `sync` outlives a power failure; `bulk` is how many rows a call takes while loading.
    """

    title: ClassVar[str]
    how: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()
    lasting: ClassVar[str] = "each call is synced"
    bulk: ClassVar[int] = 1_000

    @abstractmethod
    def add(self, start: int, vectors: Matrix) -> None:
        """Add the rows numbered from `start` on, with their payloads, by one call."""

    @abstractmethod
    def one(self, query: Vector, group: int | None = None) -> Any:
        """The 10 nearest, of a group if one is given, by the call that is for one query."""

    @abstractmethod
    def many(self, queries: Matrix, group: int | None = None) -> Any:
        """The same for several queries, by the call that is for several."""

    @abstractmethod
    def numbers(self, found: Any) -> list[list[int]]:
        """The rows' numbers in what `many` returned."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the folder."""

    async def aone(self, query: Vector, group: int | None = None) -> Any:
        """`one` for an event loop: in a thread, where the engine offers nothing for asyncio."""
        return await asyncio.to_thread(self.one, query, group)

    def sync(self) -> None:
        """After a call of `add`: have it outlive a power failure, where the engine leaves that to its user."""
        return

    def finish(self) -> None:
        """After the last row: build the index, or wait for it."""
        return

    def set_effort(self, ef: int) -> None:
        """How many candidates a search through the graph keeps."""
        raise NotImplementedError


class Ours(Engine):
    """The store of this project with its defaults; it has no effort to set."""

    title = "ours"
    how = "FAISSVectorStore with its defaults"

    def __init__(self, folder: Path, **options: Any) -> None:
        self.store = FAISSVectorStore(DIM, folder / "store", **options)

    def add(self, start: int, vectors: Matrix) -> None:
        names = [str(i) for i in range(start, start + len(vectors))]
        self.store.add_batch(vectors, payloads(start, len(vectors)), names)

    def finish(self) -> None:
        until_quiet(self.store)

    def one(self, query: Vector, group: int | None = None) -> list[Match]:
        return self.store.search(query, K, where=None if group is None else {"group": group})

    def many(self, queries: Matrix, group: int | None = None) -> list[list[Match]]:
        return self.store.search_batch(queries, K, where=None if group is None else {"group": group})

    async def aone(self, query: Vector, group: int | None = None) -> list[Match]:
        return await self.store.asearch(query, K, where=None if group is None else {"group": group})

    def numbers(self, found: list[list[Match]]) -> list[list[int]]:
        return [[int(match.uid) for match in matches] for matches in found]

    def close(self) -> None:
        self.store.close()


class RawFaiss(Engine):
    """The index alone: no payloads, nothing durable, and rows are numbered in the order they came."""

    title = "raw FAISS HNSW"
    packages = ("faiss",)
    lasting = "nothing is kept"
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

    def one(self, query: Vector, group: int | None = None) -> Any:
        return self._index.search(query[None], K)

    def many(self, queries: Matrix, group: int | None = None) -> Any:
        return self._index.search(queries, K)

    def numbers(self, found: Any) -> list[list[int]]:
        return found[1].tolist()

    def close(self) -> None:
        del self._index


class Chroma(Engine):
    """Chroma's embedded client; every payload field is indexed by itself, the text is the record's document."""

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
        if "memories" in [each.name for each in self._client.list_collections()]:
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
            metadatas=[{"type": each["type"], "group": each["group"]} for each in records],
            documents=[each["text"] for each in records],
        )

    def finish(self) -> None:
        self._collection.query(query_embeddings=np.ones((1, DIM), np.float32), n_results=1)  # what waits is indexed now

    def set_effort(self, ef: int) -> None:
        self._collection.modify(configuration={"hnsw": {"ef_search": ef}})
        self._client.close()
        self._open()

    def one(self, query: Vector, group: int | None = None) -> Any:
        return self.many(query[None], group)

    def many(self, queries: Matrix, group: int | None = None) -> Any:
        return self._collection.query(
            query_embeddings=queries, n_results=K, where=None if group is None else {"group": group}
        )

    def numbers(self, found: Any) -> list[list[int]]:
        return [[int(name) for name in names] for names in found["ids"]]

    def close(self) -> None:
        self._client.close()


class Lance(Engine):
    """LanceDB's embedded tables; a list of queries is its batch, and its asynchronous client serves asyncio."""

    title = "LanceDB"
    packages = ("lancedb", "pyarrow")
    lasting = "nothing is synced"
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
        columns = {name: [each[name] for each in records] for name in ("type", "text", "group")}
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

    def one(self, query: Vector, group: int | None = None) -> Any:
        return self._asked(self._table.search(query), group).to_list()

    def many(self, queries: Matrix, group: int | None = None) -> Any:
        found: list[list[Any]] = [[] for _ in queries]
        for row in self._asked(self._table.search(list(queries)), group).to_list():
            found[row.get("query_index", 0)].append(row)
        return found

    async def aone(self, query: Vector, group: int | None = None) -> Any:
        if self._async_table is None:
            connection = await self._lancedb.connect_async(self._folder)
            self._async_table = await connection.open_table("memories")
        return await self._asked(self._async_table.query().nearest_to(query), group).to_list()

    def _asked(self, search: Any, group: int | None) -> Any:
        search = search.distance_type("cosine").limit(K).select(self._FIELDS)
        if self._ef is not None:
            search = search.ef(self._ef)
        return search if group is None else search.where(f"`group` = {group}")  # a prefilter by default

    def numbers(self, found: Any) -> list[list[int]]:
        return [[row["id"] for row in rows] for rows in found]

    def close(self) -> None:
        del self._table, self._async_table


class Qdrant(Engine):
    """Qdrant's engine in this process."""

    title = "qdrant-edge"
    packages = ("qdrant_edge",)
    lasting = "flush() after each call"
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

    def one(self, query: Vector, group: int | None = None) -> Any:
        return self._read(self._shard.query(self._request(query, group)))

    def many(self, queries: Matrix, group: int | None = None) -> Any:
        requests = [self._request(query, group) for query in queries]
        found = self._shard.query_batch(self._edge.QueryBatchRequest(requests))
        return [self._read(points) for points in found]

    def _request(self, query: Vector, group: int | None) -> Any:
        edge, only = self._edge, None
        if group is not None:
            only = edge.Filter(must=[edge.FieldCondition("group", match=edge.MatchValue(group))])
        return edge.QueryRequest(
            limit=K, query=edge.Query.Nearest(query.tolist()), filter=only, params=self._params, with_payload=True
        )

    def _read(self, points: Any) -> list[tuple[Any, ...]]:
        return [(point.id, point.score, point.payload) for point in points]  # they become Python objects when read

    def numbers(self, found: Any) -> list[list[int]]:
        return [[each[0] for each in points] for points in found]

    def close(self) -> None:
        self._shard.close()


PEERS: dict[str, type[Engine]] = {"chroma": Chroma, "lancedb": Lance, "qdrant-edge": Qdrant}
ENGINES: dict[str, type[Engine]] = {"ours": Ours, "faiss": RawFaiss, **PEERS}


def until_quiet(store: FAISSVectorStore, limit_s: float = 7_200.0) -> float:
    """Wait until the background has nothing to do, while this program does nothing else; returns the seconds it took.

    Quiet is: for two seconds no counter of the store says otherwise, nothing changes, and the process hardly computes,
    since a graph that is being built shows nowhere else until it is there.
    """
    began = changed = time.perf_counter()
    before: tuple[object, ...] = ()
    while (looked := time.perf_counter()) - began < limit_s:
        computed_s = time.process_time()
        stats = store.stats()
        now = (stats["segments"], stats["tail_rows"])
        time.sleep(0.2)
        computing = time.process_time() - computed_s > 0.3 * (time.perf_counter() - looked)
        if computing or now != before or any(stats.get(name) for name in _BUSY):
            before, changed = now, time.perf_counter()
        elif time.perf_counter() - changed > 2.0:
            return changed - began
    raise TimeoutError(f"the store was not quiet after {limit_s:.0f} s: {store.stats()}")
