"""Finding memories by a question: 64 callers at once, and one alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import numpy as np

from benchmarks.locomo import distinct_questions
from benchmarks.measure import Bench, Row, alternate, crowd, peer, rate
from benchmarks.references import RawOnnx, sentence_transformer
from super_advanced_agents import AsyncLLMAgent, EmbeddingPipeline, FAISSVectorStore
from super_advanced_agents.types import Matrix

CALLERS = 64
TOP_K = 5
_AT_MOST_MS = 0.5


def rows(bench: Bench) -> Iterator[Row]:
    """Three rows: against raw ONNX Runtime, one caller's latency, against sentence-transformers."""
    asked = distinct_questions(bench.conversations)
    with (
        FAISSVectorStore(384, bench.folder / "retrieval") as store,
        EmbeddingPipeline(cache_entries=0) as embedder,  # no text is ever known from before
    ):
        agents = {each.name: AsyncLLMAgent(each.name, store, embedder) for each in bench.conversations}
        for conversation in bench.conversations:
            agents[conversation.name].add_text_memories([turn.memory for turn in conversation.turns])
        raw = RawOnnx()

        async def search(question: tuple[str, str]) -> None:
            await agents[question[0]].asearch_text(question[1], TOP_K, mode="vector")

        def ours(questions: list[tuple[str, str]]) -> float:
            return rate(len(questions), lambda: bench.loop.run(crowd(CALLERS, questions, search)))

        yield _against_raw(bench, asked, ours, raw)
        yield _one_caller(bench, asked, agents, store, raw)
        with peer("asearch_text, 64 callers, thread pool", ">= 8x") as found:
            found.append(_against_thread_pool(bench, asked, ours, store))
        yield from found


def _against_raw(bench: Bench, asked, ours, raw: RawOnnx) -> Row:
    texts = [text for _, text in asked]
    rounds = 2 if bench.quick else 8
    ours(asked[:CALLERS])
    raw.embed_all(texts[:CALLERS])
    rates = alternate(rounds, lambda: ours(asked), lambda: rate(len(texts), lambda: raw.embed_all(texts)))
    memories = sum(len(conversation.turns) for conversation in bench.conversations)
    return rates.row(
        f"asearch_text, {CALLERS} callers, {len(texts)} questions, {memories:,} memories",
        "raw ONNX Runtime, embed",
        0.8,
    )


def _one_caller(bench: Bench, asked, agents: dict[str, AsyncLLMAgent], store: FAISSVectorStore, raw: RawOnnx) -> Row:
    """Blocks of 50 questions in turn: the two sessions' idle threads would disturb each other in smaller ones."""
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

    for start in range(0, 200 if bench.quick else len(asked), 50):
        block = asked[start : start + 50]
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


def _against_thread_pool(bench: Bench, asked, ours, store: FAISSVectorStore) -> Row:
    """The specification's own way: each call embeds its text alone, in a ThreadPoolExecutor of the default size."""
    import faiss

    model = sentence_transformer()
    flat = faiss.IndexFlatIP(384)
    flat.add(_all_vectors(store))
    questions = asked[: 128 if bench.quick else 256]

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
    """What the store holds, for an index that knows nothing else."""
    records = page = store.scan(limit=1_000)
    while page:
        page = store.scan(after=page[-1].uid, limit=1_000)
        records = records + page
    return np.stack([record.vector for record in records])
