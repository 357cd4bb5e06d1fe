"""Hybrid search with defaults: evidence recall@10 on LoCoMo, and the rate of 64 callers."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import mean

from benchmarks.locomo import distinct_questions
from benchmarks.measure import Bench, Row, alternate, rate, run_callers
from super_advanced_agents import AsyncLLMAgent, EmbeddingPipeline, FAISSVectorStore

CALLERS = 64
K = 10
_RECALL = 0.70
_OF_VECTORS = 0.8


def rows(bench: Bench) -> Iterator[Row]:
    """Yield the recall of three modes, then the rates of hybrid and vector search.

    Each conversation has its own agent, and its turns are stored by session.
    """
    with (
        FAISSVectorStore(384, bench.folder / "hybrid") as store,
        EmbeddingPipeline(cache_entries=0) as embedder,  # no embedding may come from a cache
    ):
        agents = {
            conversation.name: AsyncLLMAgent(conversation.name, store, embedder) for conversation in bench.conversations
        }
        for conversation in bench.conversations:
            for session, session_turns in conversation.sessions().items():
                turns = [{"speaker": turn.speaker, "text": turn.text, "uid": turn.name} for turn in session_turns]
                agents[conversation.name].add_turns(turns, session=session)
        recalls = {mode: _recall(bench, agents, mode) for mode in ("hybrid", "vector", "keyword")}
        yield Row(
            f"LoCoMo evidence recall@{K}, defaults",
            f"{recalls['hybrid']:.4f}",
            f"{recalls['vector']:.4f} vectors, {recalls['keyword']:.4f} keywords",
            target="" if bench.quick else f">= {_RECALL:.2f}",
            reached=None if bench.quick else recalls["hybrid"] >= _RECALL,
            details={"recall": recalls, "of_one_conversation": bench.quick},
        )
        yield _throughput(bench, agents)


def _recall(bench: Bench, agents: dict[str, AsyncLLMAgent], mode: str) -> float:
    """Return the mean evidence recall@10, as ../shared/bench/README.md defines it."""
    shares: list[float] = []

    async def ask(question: tuple[str, str, frozenset[str]]) -> None:
        name, text, evidence = question
        # The hybrid mode is the default, and measured as such.
        matches = await agents[name].asearch_text(text, K, **({} if mode == "hybrid" else {"mode": mode}))
        shares.append(len({match.uid for match in matches} & evidence) / len(evidence))

    questions = [
        (conversation.name, question.text, question.evidence)
        for conversation in bench.conversations[: 1 if bench.quick else None]
        for question in conversation.questions
        if question.evidence
    ]
    bench.loop.run(run_callers(CALLERS, questions, ask))
    return mean(shares)


def _throughput(bench: Bench, agents: dict[str, AsyncLLMAgent]) -> Row:
    questions = distinct_questions(bench.conversations)[: 256 if bench.quick else None]

    def measure(**options: str) -> float:
        async def search(question: tuple[str, str]) -> None:
            await agents[question[0]].asearch_text(question[1], K, **options)

        return rate(len(questions), lambda: bench.loop.run(run_callers(CALLERS, questions, search)))

    rates = alternate(2 if bench.quick else 6, measure, lambda: measure(mode="vector"))
    return rates.row(
        f"asearch_text by the defaults, {CALLERS} callers, {len(questions)} questions", 'mode="vector"', _OF_VECTORS
    )
