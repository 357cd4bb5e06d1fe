"""Cost of the server: the same work over REST, over gRPC and in one process, on one core.

The load comes from another core. Server and reference are measured in alternation, each idle while the other works.
Questions are new in every round, so that no cache answers them; rows that measure a cache say so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any

import grpc
import orjson
import uvloop
from google.protobuf.message import Message

from benchmarks import neighbours, programs
from benchmarks.driver import Load, drive, request
from benchmarks.inside import CALLERS, TOP_K, ReferenceProcess, inside, wait_until_sealed
from benchmarks.locomo import distinct_questions
from benchmarks.measure import Bench, Rates, Row, interleave, peer_rows, percentile, run_callers
from benchmarks.served import Served, chroma_server, server
from benchmarks.vectors import DIM, blocks, payloads, queries
from super_advanced_agents import DistributedVectorStore
from super_advanced_agents.protocol import methods
from super_advanced_agents.protocol.v1 import agents_pb2, vector_store_pb2
from super_advanced_agents.types import Matrix

_VECTORS, _FEW_VECTORS = 100_000, 20_000
_ADDED = 10_000
_REPEATED = 16
_AT_MOST_MS = 2.0


def rows(bench: Bench) -> Iterator[Row]:
    """Yield the rates of questions, bulk adds and vector searches, and the effect of neighbours."""
    with (
        inside(bench.folder / "inside") as reference,
        server(bench.folder / "served") as served,
        programs.off_that_core(),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        yield from _questions(bench, reference, served, runner)
        yield _repeated(bench, served, runner)
        yield _bulk(bench, reference, served, runner)
        yield from _vectors(bench, reference, served, runner)
    yield from neighbours.rows(bench)


def _questions(bench: Bench, reference: ReferenceProcess, served: Served, runner: asyncio.Runner) -> Iterator[Row]:
    texts = [text for _, text in distinct_questions(bench.conversations)]
    memories = [turn.memory for conversation in bench.conversations for turn in conversation.turns]
    reference.measure("remember", texts=memories)
    runner.run(_remember(served, memories))
    rounds = iter(range(1_000))

    def fresh() -> list[str]:
        round_ = next(rounds)
        return [f"{text} {round_}" for text in texts]

    sides: dict[str, Callable[[], float]] = {
        "in process": lambda: reference.measure("questions", texts=fresh()),
        "REST": lambda: _rest(served, runner, fresh()).per_s,
        "gRPC": lambda: runner.run(_ask_grpc(served, fresh())),
    }
    interleave(1, sides)
    found = interleave(3 if bench.quick else 6, sides)
    work = f"search, {CALLERS} callers, {len(texts)} new questions, {len(memories):,} memories"
    yield Rates(found["REST"], found["in process"]).row(f"REST {work}", "in process", 0.75)
    yield Rates(found["gRPC"], found["in process"]).row(f"gRPC {work}", "in process", 0.85)
    yield Rates(found["gRPC"], found["REST"]).row(f"gRPC {work}", "REST", 1.0)


def _repeated(bench: Bench, served: Served, runner: asyncio.Runner) -> Row:
    texts = [text for _, text in distinct_questions(bench.conversations)]
    known, rounds = [f"{text} again" for text in texts[:_REPEATED]], iter(range(1_000))
    _rest(served, runner, known)
    few = len(texts) if not bench.quick else 300
    latencies: list[float] = []

    def hits() -> float:
        load = _rest(served, runner, [known[i % _REPEATED] for i in range(5 * few)])
        return load.per_s

    def misses() -> float:
        round_ = next(rounds)
        return _rest(served, runner, [f"{text} once {round_}" for text in texts[:few]]).per_s

    found = interleave(3 if bench.quick else 5, {"hits": hits, "misses": misses})
    for _ in range(3):
        latencies += _rest(served, runner, [known[i % _REPEATED] for i in range(500)], connections=1).latencies_ms
    row = Rates(found["hits"], found["misses"]).row(
        f"REST search, {_REPEATED} questions repeated, {CALLERS} callers (one: p50 {median(latencies):.2f} ms)",
        "new questions",
        5.0,
    )
    row.details["one_caller_p50_ms"] = median(latencies)
    row.details["one_caller_p99_ms"] = percentile(latencies, 0.99)
    row.details["reached_p50"] = median(latencies) <= _AT_MOST_MS
    return row


def _bulk(bench: Bench, reference: ReferenceProcess, served: Served, runner: asyncio.Runner) -> Row:
    [(_, vectors)] = blocks(_ADDED)
    documents = payloads(0, len(vectors))
    rounds = iter(range(1_000))

    async def stream(name: str) -> None:
        async with DistributedVectorStore(
            f"grpc://{served.grpc}", collection=name, api_key=served.key, dim=DIM
        ) as store:
            new = ((vector, document, None) for vector, document in zip(vectors, documents, strict=True))
            async for _ in store.aadd_stream(new):
                pass

    def over_grpc() -> float:
        began = time.perf_counter()
        runner.run(stream(f"bulk{next(rounds)}"))
        return len(vectors) / (time.perf_counter() - began)

    found = interleave(
        3 if bench.quick else 5,
        {"gRPC": over_grpc, "in process": lambda: reference.measure("add", name=f"bulk{next(rounds)}", count=_ADDED)},
    )
    return Rates(found["gRPC"], found["in process"]).row(f"bulk add over gRPC, {_ADDED:,} x {DIM}", "in process", 0.5)


def _vectors(bench: Bench, reference: ReferenceProcess, served: Served, runner: asyncio.Runner) -> Iterator[Row]:
    count = _FEW_VECTORS if bench.quick else _VECTORS
    query_vectors = queries(1_000 if bench.quick else 3_000)
    reference.measure("fill", count=count)
    runner.run(_fill(served, count))
    sides: dict[str, Callable[[], float]] = {
        "gRPC": lambda: runner.run(_nearest_grpc(served, query_vectors)),
        "in process": lambda: reference.measure("nearest", count=len(query_vectors)),
    }
    work = f"vector search over gRPC, {CALLERS} callers, {count:,} x {DIM}"
    with peer_rows(work, "ahead") as found_peer, chroma_server(bench.folder / "chroma") as port:
        name = runner.run(_fill_chroma(port, count))
        sides["Chroma's server, HTTP"] = lambda: runner.run(_nearest_chroma(port, name, query_vectors))
        found = interleave(3 if bench.quick else 5, sides)
        found_peer.append(
            Rates(found["gRPC"], found["Chroma's server, HTTP"]).row(
                work, "Chroma's server, HTTP", 1.0, at_least_per_s=1_500
            )
        )
        found_peer.append(Rates(found["gRPC"], found["in process"]).row(work, "in process"))
    yield from found_peer


# -- REST -------------------------------------------------------------------------------------------------------------


def _rest(served: Served, runner: asyncio.Runner, texts: Sequence[str], *, connections: int = CALLERS) -> Load:
    sent = [request("/search", {"query": text, "top_k": TOP_K}, served.headers) for text in texts]
    load = runner.run(drive("127.0.0.1", served.port, sent, connections=connections))
    if set(load.statuses) != {200}:
        raise RuntimeError(f"the server answered {load.statuses}")
    return load


async def _remember(served: Served, texts: Sequence[str]) -> None:
    parts = [texts[start : start + 500] for start in range(0, len(texts), 500)]
    sent = [
        request("/v1/agents/default/memories", {"memories": [{"text": text} for text in part]}, served.headers)
        for part in parts
    ]
    load = await drive("127.0.0.1", served.port, sent, connections=1)
    if max(load.statuses) >= 300:
        raise RuntimeError(f"the server answered {load.statuses}")


# -- gRPC -------------------------------------------------------------------------------------------------------------


async def _ask_grpc(served: Served, texts: Sequence[str]) -> float:
    requests = [agents_pb2.SearchMemoriesRequest(agent="default", query=text, top_k=TOP_K) for text in texts]
    return await _call_all(served, methods.SEARCH_MEMORIES, requests)


async def _nearest_grpc(served: Served, vectors: Matrix) -> float:
    requests = [
        vector_store_pb2.SearchRequest(collection="vectors", dim=DIM, query_vectors=vector.tobytes(), top_k=TOP_K)
        for vector in vectors
    ]
    # Every round sends the same vectors, which the result cache must not answer.
    return await _call_all(served, methods.SEARCH, requests, ("cache-control", "no-cache"))


async def _call_all(
    served: Served, method: methods.Method[Any, Any], requests: Sequence[Message], *more: tuple[str, str]
) -> float:
    """Send all requests over one channel by concurrent callers, and return the calls per second."""
    metadata = (("authorization", f"Bearer {served.key}"), *more)
    async with grpc.aio.insecure_channel(served.grpc) as channel:
        call = channel.unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.reply.FromString,
        )

        async def send(request: Message) -> None:
            await call(request, metadata=metadata)

        began = time.perf_counter()
        await run_callers(CALLERS, requests, send)
        return len(requests) / (time.perf_counter() - began)


async def _fill(served: Served, count: int) -> None:
    async with DistributedVectorStore(
        f"grpc://{served.grpc}", collection="vectors", api_key=served.key, dim=DIM, timeout_s=300
    ) as store:
        for first, vectors in blocks(count):
            new = zip(vectors, payloads(first, len(vectors)), [None] * len(vectors), strict=True)
            async for _ in store.aadd_stream(new):
                pass
        await wait_until_sealed(store)


# -- Chroma, by its own REST interface ---------------------------------------------------------------------------------

_CHROMA = "/api/v2/tenants/default_tenant/databases/default_database/collections"


async def _fill_chroma(port: int, count: int) -> str:
    import chromadb

    def fill() -> str:
        client = chromadb.HttpClient("127.0.0.1", port)
        collection = client.create_collection("vectors", metadata={"hnsw:space": "cosine"})
        for first, vectors in blocks(count):
            for start in range(0, len(vectors), 1_000):
                part = vectors[start : start + 1_000]
                documents = payloads(first + start, len(part))
                collection.add(
                    ids=[str(first + start + i) for i in range(len(part))],
                    embeddings=part,
                    documents=[str(document["text"]) for document in documents],
                    metadatas=[{k: v for k, v in document.items() if k != "text"} for document in documents],
                )
        return str(collection.id)

    return await asyncio.to_thread(fill)


async def _nearest_chroma(port: int, name: str, query_vectors: Matrix) -> float:
    include = ["documents", "metadatas", "distances"]
    sent = [
        request(
            f"{_CHROMA}/{name}/query",
            orjson.Fragment(
                orjson.dumps(
                    {"query_embeddings": [vector], "n_results": TOP_K, "include": include},
                    option=orjson.OPT_SERIALIZE_NUMPY,
                )
            ),
            {},
        )
        for vector in query_vectors
    ]
    load = await drive("127.0.0.1", port, sent, connections=CALLERS)
    if set(load.statuses) != {200}:
        raise RuntimeError(f"Chroma answered {load.statuses}")
    return load.per_s
