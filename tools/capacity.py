"""Estimate the machines that memories, requests and tenants need, on each engine.

    python tools/capacity.py --memories 1e7 --searches 200 --tenants 1e4
    python tools/capacity.py --table        # the table of docs/scaling.md

Every figure that goes into the estimate is a constant below, with its source: change them to your own. The result is
a first guess to order a test machine by, not a promise.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

GIB = 1024**3

# -- measured here, on two cores of an AMD EPYC; texts of 22 words, vectors of 384 numbers ---------------------------

SERVED_PER_CORE = 240.0
"""Searches a second of one core of `saa serve` (`serving`), embedding included."""
EMBEDDED_PER_CORE = 155.0
"""Texts a second that one core embeds and stores (`make bench`, `imports`)."""
SERVER_GIB = 0.45
"""Memory of an idle server with the default models, which take 0.3 GiB of it."""
FOLDER_PER_CORE = 480.0
"""Searches a second and core of a folder of 100,000 vectors (`search100k`)."""
FOLDER_TEN_TIMES = 0.9
"""The part of that rate that is left in ten times the vectors (`million`)."""
FOLDER_FP32, FOLDER_SQ8 = 1.8, 0.59
"""Resident bytes for each byte of vectors and texts; with `sq8`, for each byte of vectors."""
POSTGRES_ROW_BYTES = 660
"""Bytes on disk of a record and its indexes beside its vector, without the keyword index."""
POSTGRES_WORD_BYTES = 165
"""Bytes on disk of the keyword index for each different word of a text."""
SMALL_NAMESPACE = 10_000
"""The most memories of a namespace that is searched exactly, without a graph."""

# -- published by others ----------------------------------------------------------------------------------------------

POSTGRES_PER_CORE = 100.0
"""Searches a second and core of pgvector, HNSW, a million vectors of 384.

Accuracy 0.99; 525/s on 4 cores, 2,690/s on 32 (Supabase, "Choosing your Compute Add-on").
"""
POSTGRES_GRAPH_BYTES = 500
"""Bytes of a graph of pgvector beside each vector: links (m=16) and unused parts of pages."""
MILVUS_PER_CORE = 100.0
"""An assumption: a graph search costs what it costs in pgvector. Measure it with your data."""
MILVUS_GRAPH_BYTES = 640
"""Bytes beside each vector: 1.1 GiB are loaded for 488 MiB (Milvus sizing tool, HNSW)."""
MILVUS_LOAD = 0.9
"""Loaded data must stay below this share of the query nodes' memory (Milvus, "Limitations")."""
MILVUS_BASE_CORES, MILVUS_BASE_GIB = 32, 173
"""The smallest cluster without query nodes (Milvus sizing tool).

It has coordinators, a proxy, etcd, MinIO and Pulsar.
"""

# -- choices ----------------------------------------------------------------------------------------------------------

BUSY = 0.6
"""The share of a machine's cores that may be busy, so that the slowest calls do not queue."""
CORES, MACHINE_GIB, DOLLARS = 16, 64, 500.0
"""The machine that is counted in, and its price a month: an assumption, put your own."""
FOLDER_MEMORIES = 5_000_000
"""The most memories of a folder, which rebuilds its indexes after a crash."""
POSTGRES_MEMORIES = 100_000_000
"""The most memories with graphs of one PostgreSQL, which must fit into its memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Hold what is asked of a deployment.

    Attributes:
        memories: the number of memories.
        tenants: the number of tenants or namespaces that they are spread over, evenly.
        searches: the number of searches a second.
        writes: the number of new memories a second.
        dim: the length of the vectors.
        words: the number of different words of a text.
    """

    memories: float
    tenants: float = 1.0
    searches: float = 10.0
    writes: float = 1.0
    dim: int = 384
    words: int = 20

    @property
    def vector_bytes(self) -> int:
        """The bytes of a vector."""
        return 4 * self.dim

    @property
    def has_graphs(self) -> bool:
        """True where namespaces are large enough for graphs."""
        return self.memories / self.tenants > SMALL_NAMESPACE


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Hold what a deployment needs.

    Attributes:
        engine: the engine, as it stands in a URL.
        memory_gib: the memory of the engine.
        disk_gib: the disk of the engine.
        engine_cores: the cores of the engine.
        server_cores: the cores of `saa serve`, which embed, check and answer.
        machines: the number of machines.
    """

    engine: str
    memory_gib: float
    disk_gib: float
    engine_cores: float
    server_cores: float
    machines: int

    @property
    def dollars(self) -> float:
        """The price of the machines a month."""
        return self.machines * DOLLARS


def folder(load: Load) -> Estimate:
    """Estimate one server with a folder."""
    text_bytes = 7 * load.words
    if load.memories <= 1_000_000:
        resident = FOLDER_FP32 * (load.vector_bytes + text_bytes)
    else:
        resident = FOLDER_SQ8 * load.vector_bytes
    decades = max(0.0, math.log10(load.memories / load.tenants / 100_000))
    engine_cores = load.searches / (FOLDER_PER_CORE * FOLDER_TEN_TIMES**decades)
    disk = load.memories * (2 * load.vector_bytes + 3 * text_bytes)
    return _estimate("faiss", load, engine_cores, load.memories * resident, disk, together=True)


def postgres(load: Load) -> Estimate:
    """Estimate one PostgreSQL, with as many servers before it as the searches need."""
    row = load.vector_bytes + POSTGRES_ROW_BYTES
    words = POSTGRES_WORD_BYTES * load.words
    graph = load.vector_bytes + POSTGRES_GRAPH_BYTES if load.has_graphs else 0
    # A graph is read at random, so it is in memory; of rows and words a tenth is in use at a time.
    memory = load.memories * (graph + 0.1 * (row + words))
    return _estimate(
        "postgresql", load, load.searches / POSTGRES_PER_CORE, memory, load.memories * (row + words + graph)
    )


def milvus(load: Load) -> Estimate:
    """Estimate a Milvus cluster, with servers before it."""
    memory = load.memories * (load.vector_bytes + MILVUS_GRAPH_BYTES) / MILVUS_LOAD + MILVUS_BASE_GIB * GIB
    disk = 3 * load.memories * (load.vector_bytes + 7 * load.words + POSTGRES_ROW_BYTES)
    return _estimate("milvus", load, load.searches / MILVUS_PER_CORE + MILVUS_BASE_CORES * BUSY, memory, disk)


def _estimate(
    engine: str, load: Load, engine_cores: float, memory_bytes: float, disk_bytes: float, *, together: bool = False
) -> Estimate:
    server_cores = load.searches / SERVED_PER_CORE + load.writes / EMBEDDED_PER_CORE
    servers = max(1, math.ceil(server_cores / BUSY / CORES))
    memory_gib = memory_bytes / GIB
    if together:  # the store is inside the one server
        machines = max(1, math.ceil(max(server_cores / BUSY / CORES, (memory_gib + SERVER_GIB) / (0.8 * MACHINE_GIB))))
    else:
        holding = math.ceil(max(engine_cores / BUSY / CORES, memory_gib / (0.8 * MACHINE_GIB)))
        machines = max(2, servers) + max(1, holding)
    return Estimate(
        engine=engine,
        memory_gib=memory_gib,
        disk_gib=disk_bytes / GIB,
        engine_cores=engine_cores / BUSY,
        server_cores=server_cores / BUSY,
        machines=machines,
    )


def choose(load: Load) -> Estimate:
    """Return the simplest engine that carries a load."""
    local = folder(load)
    if load.memories <= FOLDER_MEMORIES and local.machines == 1:
        return local
    if load.memories <= POSTGRES_MEMORIES:
        return postgres(load)
    # Very many small namespaces need no graph: B-trees find them on disk, and tenants are spread over databases.
    return milvus(load) if load.has_graphs else postgres(load)


def table() -> str:
    """Return the table of docs/scaling.md."""
    lines = [
        "| memories | tenants | searches/s | engine | memory | disk | cores | servers' cores | machines | a month |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for memories, tenants, searches in (
        (1e5, 1, 1),
        (1e5, 1e3, 100),
        (1e6, 1e2, 100),
        (1e6, 1e4, 1_000),
        (1e7, 1, 100),
        (1e7, 1e5, 1_000),
        (1e8, 1e2, 1_000),
        (1e8, 1e6, 10_000),
        (1e9, 1e2, 1_000),
        (1e9, 1e6, 10_000),
    ):
        lines.append(_row(Load(memories=memories, tenants=tenants, searches=searches, writes=searches / 10)))
    return "\n".join(lines)


def _row(load: Load) -> str:
    found = choose(load)
    return (
        f"| {load.memories:,.0f} | {load.tenants:,.0f} | {load.searches:,.0f} | `{found.engine}` | "
        f"{found.memory_gib:,.1f} GiB | {found.disk_gib:,.1f} GiB | {found.engine_cores:,.1f} | "
        f"{found.server_cores:,.1f} | {found.machines:,} | ${found.dollars:,.0f} |"
    )


def main() -> None:
    """Print the estimates for the load that the arguments describe, or the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--table", action="store_true", help="print the table of docs/scaling.md")
    parser.add_argument("--memories", type=float, default=1e6)
    parser.add_argument("--tenants", type=float, default=1.0)
    parser.add_argument("--searches", type=float, default=10.0, help="a second")
    parser.add_argument("--writes", type=float, default=1.0, help="new memories a second")
    parser.add_argument("--dim", type=int, default=384)
    arguments = parser.parse_args()
    if arguments.table:
        print(table())
        return
    if min(arguments.memories, arguments.tenants, arguments.dim) < 1 or min(arguments.searches, arguments.writes) < 0:
        parser.error("memories, tenants and dim are at least 1; searches and writes at least 0")
    load = Load(
        memories=arguments.memories,
        tenants=arguments.tenants,
        searches=arguments.searches,
        writes=arguments.writes,
        dim=arguments.dim,
    )
    chosen = choose(load)
    for estimate in (folder(load), postgres(load), milvus(load)):
        print(
            f"{estimate.engine:11} {estimate.memory_gib:10,.1f} GiB memory {estimate.disk_gib:10,.1f} GiB disk "
            f"{estimate.engine_cores:8,.1f} cores, servers {estimate.server_cores:8,.1f} cores, "
            f"{estimate.machines:5,} machines, ${estimate.dollars:9,.0f} a month"
            f"{'  <- the simplest that carries it' if estimate.engine == chosen.engine else ''}"
        )


if __name__ == "__main__":
    main()
