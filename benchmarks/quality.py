"""Quality of int8 embeddings: vectors and evidence recall@10 beside fp32."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import mean

import numpy as np

from benchmarks.locomo import Conversation
from benchmarks.measure import Bench, Row
from super_advanced_agents import EmbeddingPipeline, FAISSVectorStore, LLMAgent

K = 10


def rows(bench: Bench) -> Iterator[Row]:
    """Yield the mean cosine of int8 and fp32 vectors, then the recall with either on both sides."""
    chosen = bench.conversations[:1] if bench.quick else bench.conversations
    texts = [turn.memory for conversation in chosen for turn in conversation.turns]
    with EmbeddingPipeline(precision="int8") as int8, EmbeddingPipeline(precision="fp32") as fp32:
        cosines = np.einsum("ij,ij->i", int8.embed_batch(texts), fp32.embed_batch(texts))
        cosine = float(cosines.mean())
        yield Row(
            f"int8 against fp32, mean cosine of {len(texts):,} vectors",
            f"{cosine:.4f}",
            target=">= 0.99",
            reached=cosine >= 0.99,
            details={"mean": cosine, "lowest": float(cosines.min())},
        )
        ours, reference = _recall(int8, chosen), _recall(fp32, chosen)
    yield Row(
        f"LoCoMo evidence recall@{K}, mode vector",
        f"{ours:.4f} int8",
        f"{reference:.4f} fp32",
        f"{ours - reference:+.4f}",
        "" if bench.quick else "within 0.01",
        None if bench.quick else abs(ours - reference) <= 0.01,  # one conversation has too few questions
        {"int8": ours, "fp32": reference},
    )


def _recall(embedder: EmbeddingPipeline, conversations: list[Conversation]) -> float:
    """Return the mean evidence recall@10, as ../shared/bench/README.md defines it."""
    shares = []
    with FAISSVectorStore(embedder.dim) as store:
        for conversation in conversations:
            agent = LLMAgent(conversation.name, store, embedder)
            for session, turns in conversation.sessions().items():
                agent.add_turns(
                    [{"speaker": turn.speaker, "text": turn.text, "uid": turn.name} for turn in turns], session=session
                )
            for question in conversation.questions:
                if question.evidence:
                    found = {match.uid for match in agent.search_text(question.text, K, mode="vector")}
                    shares.append(len(found & question.evidence) / len(question.evidence))
    return mean(shares)
