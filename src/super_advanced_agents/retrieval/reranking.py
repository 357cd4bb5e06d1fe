"""Re-ranking: a second, slower look at the best matches, by any callable."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property, partial
from typing import Protocol, TypeAlias, cast

from super_advanced_agents._runtime.batcher import Workers
from super_advanced_agents._runtime.futures import driven_by_thread
from super_advanced_agents.config import LIMITS
from super_advanced_agents.errors import ConfigurationError, InvalidInputError
from super_advanced_agents.retrieval.explaining import one_signal
from super_advanced_agents.retrieval.llm_reranker import LLMReranker
from super_advanced_agents.types import ExplainedMatch, Explanation, Match

Scores: TypeAlias = Sequence[float]

_MOST_CANDIDATES = LIMITS.top_k
_THREADS = 2
_MAX_WAITING = 256
_IDLE_S = 1.0


class Reranker(Protocol):
    """Gives each match a new score; higher is better. Any callable will do, plain or asynchronous.

    A plain one runs in a worker thread, so it may block; two run at once. An asynchronous one runs in the caller's
    event loop (in one of its own, in a worker thread, when the caller has none).
    """

    def __call__(self, query_text: str, matches: Sequence[Match], /) -> Scores | Awaitable[Scores]:
        """One finite score for each match, in their order; what it raises is raised by the search."""


class Reranking:
    """The re-ranking of one agent; owns worker threads that end by themselves a second after the last use.

    Args:
        reranker: what is used when a search does not name its own; None re-ranks only where one does.
        candidates: how many of the best matches are looked at again, 1 to 1,000.

    Raises:
        ConfigurationError: an argument is wrong.
    """

    def __init__(self, reranker: Reranker | None, candidates: int) -> None:
        if reranker is not None and not callable(reranker):
            raise ConfigurationError(f"reranker must be callable, not {type(reranker).__name__}")
        if type(candidates) is not int or not 1 <= candidates <= _MOST_CANDIDATES:
            raise ConfigurationError(
                f"rerank_candidates must be an integer from 1 to {_MOST_CANDIDATES}, not {candidates!r}"
            )
        self._reranker = reranker
        self._candidates = candidates

    @cached_property
    def _workers(self) -> Workers:  # made when used: a server makes an agent for each request
        return Workers(name="reranking", threads=_THREADS, max_queue=_MAX_WAITING, idle_s=_IDLE_S)

    def chosen(self, rerank: bool | Reranker | None) -> Reranker | None:
        """The re-ranker of one search: its own, the agent's (None or True), or none.

        Raises:
            ConfigurationError: True, and the agent has none.
            InvalidInputError: it is not callable.
        """
        if rerank is None:
            return self._reranker
        if isinstance(rerank, bool):
            if rerank and self._reranker is None:
                raise ConfigurationError(
                    "this agent has no reranker", hint="give it one: reranker=LLMReranker(llm), or pass one as rerank="
                )
            return self._reranker if rerank else None
        if not callable(rerank):
            raise InvalidInputError(
                f"rerank must be True, False or callable, not {type(rerank).__name__}", field="rerank"
            )
        return rerank

    def candidates(self, top_k: int) -> int:
        """How many matches to look for when the best `top_k` are wanted after re-ranking.

        Raises:
            InvalidInputError: more are wanted than are looked at.
        """
        if isinstance(top_k, int) and top_k > self._candidates:  # what is no number is the store's to refuse
            raise InvalidInputError(
                f"top_k is {top_k}, but only {self._candidates} matches are re-ranked",
                field="top_k",
                hint=f"give the agent rerank_candidates={top_k}, or pass rerank=False",
            )
        return self._candidates if type(top_k) is int and top_k > 0 else top_k

    async def best(self, reranker: Reranker, query_text: str, matches: Sequence[Match], top_k: int) -> list[Match]:
        """The `top_k` matches with the highest new scores, which become theirs; equal ones stay in their order.

        Raises what `reranker` raises, and `ConfigurationError` when what it gives back are no scores. Cancelled, an
        asynchronous one is cancelled too; a plain one that has begun ends in its thread, and its scores are dropped.
        """
        if not matches:
            return []
        scores = _checked(await self._scores(reranker, query_text, tuple(matches)), len(matches))
        order = sorted(range(len(matches)), key=lambda at: -scores[at])
        return [_rescored(matches[at], scores[at]) for at in order[:top_k]]

    async def _scores(self, reranker: Reranker, query_text: str, matches: Sequence[Match]) -> object:
        if isinstance(reranker, LLMReranker):
            return await reranker.arerank(query_text, matches)
        begin = partial(reranker, query_text, matches)
        if driven_by_thread():
            return await self._workers.submit(partial(_finished, begin))
        begun = begin() if _is_asynchronous(reranker) else await self._workers.submit(begin)
        return await begun if inspect.isawaitable(begun) else begun


def _is_asynchronous(reranker: Reranker) -> bool:
    return inspect.iscoroutinefunction(reranker) or inspect.iscoroutinefunction(type(reranker).__call__)


def _finished(begin: Callable[[], Scores | Awaitable[Scores]]) -> object:
    """Call it; what it awaits gets an event loop of this thread's."""
    begun = begin()

    async def finish() -> object:
        return await cast("Awaitable[Scores]", begun)

    return asyncio.run(finish()) if inspect.isawaitable(begun) else begun


def _checked(given: object, count: int) -> list[float]:
    try:
        scores = [float(score) for score in cast("Scores", given)]
    except (TypeError, ValueError) as exc:
        raise ConfigurationError(f"the reranker gave {type(given).__name__}, not {count} scores") from exc
    if len(scores) != count or not all(map(math.isfinite, scores)):
        raise ConfigurationError(f"the reranker must give {count} finite scores, one for each match, in their order")
    return scores


def _rescored(match: Match, score: float) -> Match:
    if not isinstance(match, ExplainedMatch):
        return match.rescored(score)
    why = Explanation(signals=(one_signal("rerank", score),), retrieved=match.explanation)
    return ExplainedMatch.of(match, why, score=score)
