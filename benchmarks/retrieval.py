"""Search of memories by a question: 64 concurrent callers, and one caller alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import numpy as np

from benchmarks.locomo import distinct_questions
from benchmarks.measure import Bench, Row, alternate, peer_rows, rate, run_callers
from benchmarks.references import RawOnnx, sentence_transformer
from super_advanced_agents import AsyncLLMAgent, EmbeddingPipeline, FAISSVectorStore
from super_advanced_agents.types import Matrix

CALLERS = 64
TOP_K = 5
_AT_MOST_MS = 0.5


def rows(bench: Bench) -> Iterator[Row]:
    """Yield rows against raw ONNX Runtime, for one caller, and against sentence-transformers."""
    questions = distinct_questions(bench.conversations)
    with (
        FAISSVectorStore(384, bench.folder / "retrieval") as store,
        EmbeddingPipeline(cache_entries=0) as embedder,  # no embedding may come from a cache
    ):
        agents = {
            conversation.name: AsyncLLMAgent(conversation.name, store, embedder) for conversation in bench.conversations
        }
        for conversation in bench.conversations:
            agents[conversation.name].add_text_memories([turn.memory for turn in conversation.turns])
        raw = RawOnnx()

        async def search(question: tuple[str, str]) -> None:
            await agents[question[0]].asearch_text(question[1], TOP_K, mode="vector")

        def ours(some: list[tuple[str, str]]) -> float:
            return rate(len(some), lambda: bench.loop.run(run_callers(CALLERS, some, search)))

        yield _against_raw(bench, questions, ours, raw)
        yield _one_caller(bench, questions, agents, store, raw)
        with peer_rows("asearch_text, 64 callers, thread pool", ">= 8x") as found:
            found.append(_against_thread_pool(bench, questions, ours, store))
        yield from found


def _against_raw(bench: Bench, questions, ours, raw: RawOnnx) -> Row:
    texts = [text for _, text in questions]
    rounds = 2 if bench.quick else 8
    ours(questions[:CALLERS])
    raw.embed_all(texts[:CALLERS])
    rates = alternate(rounds, lambda: ours(questions), lambda: rate(len(texts), lambda: raw.embed_all(texts)))
    memories = sum(len(conversation.turns) for conversation in bench.conversations)
    return rates.row(
        f"asearch_text, {CALLERS} callers, {len(texts)} questions, {memories:,} memories",
        "raw ONNX Runtime, embed",
        0.8,
    )


def _one_caller(
    bench: Bench, questions, agents: dict[str, AsyncLLMAgent], store: FAISSVectorStore, raw: RawOnnx
) -> Row:
    # Both sides alternate by blocks of 50 questions: in smaller ones the sessions' idle threads disturb each other.
    import faiss

    flat = faiss.IndexFlatIP(384)
    flat.add(_all_vectors(store))
    ours_ms: list[float] = []
    raw_ms: list[float] = []

    async def one_after_another(block: list[tuple[str, str]]) -> None:
        for name, text in block:
            began = time.perf_counter()
            await agents[name].asearch_text(text, TOP_K, mode="vector")
            ours_ms.append((time.perf_counter() - began) * 1e3)

    for start in range(0, 200 if bench.quick else len(questions), 50):
        block = questions[start : start + 50]
        bench.loop.run(one_after_another(block))
        for _, text in block:
            began = time.perf_counter()
            flat.search(raw.embed([text]), TOP_K)
            raw_ms.append((time.perf_counter() - began) * 1e3)
    ours, reference = median(ours_ms), median(raw_ms)
    return Row(
        "asearch_text, one caller, p50",
        f"{ours:.2f} ms",
        f"{reference:.2f} ms raw embed + IndexFlatIP",
        f"{ours - reference:+.2f} ms",
        f"<= +{_AT_MOST_MS} ms",
        ours - reference <= _AT_MOST_MS,
        {"ours_ms": ours, "reference_ms": reference, "questions": len(ours_ms)},
    )


def _against_thread_pool(bench: Bench, all_questions, ours, store: FAISSVectorStore) -> Row:
    """Compare with the specification's way: each call embeds one text in a ThreadPoolExecutor."""
    import faiss

    model = sentence_transformer()
    flat = faiss.IndexFlatIP(384)
    flat.add(_all_vectors(store))
    questions = all_questions[: 128 if bench.quick else 256]

    def search(question: tuple[str, str]) -> None:
        vector = model.encode([question[1]], normalize_embeddings=True, show_progress_bar=False)
        flat.search(np.asarray(vector, np.float32), TOP_K)

    def reference() -> float:
        with ThreadPoolExecutor() as pool:
            return rate(len(questions), lambda: list(pool.map(search, questions)))

    reference()
    ours(questions)
    rates = alternate(2 if bench.quick else 4, lambda: ours(questions), reference)
    return rates.row(f"asearch_text, {CALLERS} callers", "sentence-transformers, one text a call, thread pool", 8)


def _all_vectors(store: FAISSVectorStore) -> Matrix:
    records = page = store.scan(limit=1_000)
    while page:
        page = store.scan(after=page[-1].uid, limit=1_000)
        records = records + page
    return np.stack([record.vector for record in records])
