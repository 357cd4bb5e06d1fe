"""The defaults: LoCoMo evidence recall@10 without a language model, and what 64 callers get of it each second."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import mean

from benchmarks.locomo import distinct_questions
from benchmarks.measure import Bench, Row, alternate, crowd, rate
from super_advanced_agents import AsyncLLMAgent, EmbeddingPipeline, FAISSVectorStore

CALLERS = 64
K = 10
_RECALL = 0.70
_OF_VECTORS = 0.8


def rows(bench: Bench) -> Iterator[Row]:
    """Turns by sessions, one agent a conversation; recall first, then the rates of two modes in turn."""
    with (
        FAISSVectorStore(384, bench.folder / "hybrid") as store,
        EmbeddingPipeline(cache_entries=0) as embedder,  # no text is ever known from before
    ):
        agents = {each.name: AsyncLLMAgent(each.name, store, embedder) for each in bench.conversations}
        for conversation in bench.conversations:
            for session, said in conversation.sessions().items():
                turns = [{"speaker": turn.speaker, "text": turn.text, "uid": turn.name} for turn in said]
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
    """The metric of ../shared/bench/README.md; the defaults of `asearch_text` are the hybrid mode."""
    found: list[float] = []

    async def ask(question: tuple[str, str, frozenset[str]]) -> None:
        name, text, evidence = question
        matches = await agents[name].asearch_text(text, K, **({} if mode == "hybrid" else {"mode": mode}))
        found.append(len({match.uid for match in matches} & evidence) / len(evidence))

    questions = [
        (conversation.name, question.text, question.evidence)
        for conversation in bench.conversations[: 1 if bench.quick else None]
        for question in conversation.questions
        if question.evidence
    ]
    bench.loop.run(crowd(CALLERS, questions, ask))
    return mean(found)


def _throughput(bench: Bench, agents: dict[str, AsyncLLMAgent]) -> Row:
    asked = distinct_questions(bench.conversations)[: 256 if bench.quick else None]

    def measure(**how: str) -> float:
        async def search(question: tuple[str, str]) -> None:
            await agents[question[0]].asearch_text(question[1], K, **how)

        return rate(len(asked), lambda: bench.loop.run(crowd(CALLERS, asked, search)))

    rates = alternate(2 if bench.quick else 6, measure, lambda: measure(mode="vector"))
    return rates.row(
        f"asearch_text by the defaults, {CALLERS} callers, {len(asked)} questions", 'mode="vector"', _OF_VECTORS
    )
