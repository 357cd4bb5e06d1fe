"""Re-ranking of the best search results by a slower, more exact scoring function."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property, partial
from typing import Protocol, TypeAlias, cast

from super_advanced_agents._runtime.concurrency.futures import driven_by_thread
from super_advanced_agents._runtime.queues.batcher import Workers
from super_advanced_agents.config import LIMITS
from super_advanced_agents.errors import ConfigurationError, InvalidInputError
from super_advanced_agents.retrieval.explaining import one_signal
from super_advanced_agents.retrieval.llm_reranker import LLMReranker
from super_advanced_agents.types import ExplainedMatch, Explanation, Match

Scores: TypeAlias = Sequence[float]

_MAX_CANDIDATES = LIMITS.top_k
_THREADS = 2
_MAX_WAITING = 256
_IDLE_S = 1.0


class Reranker(Protocol):
    """Define the signature of a callable, plain or asynchronous, that re-scores search results.

    A plain one runs in a worker thread, so it may block; two run at once. An asynchronous one runs in the caller's
    event loop or, when the caller has none, in a new event loop in a worker thread.
    """

    def __call__(self, query_text: str, matches: Sequence[Match], /) -> Scores | Awaitable[Scores]:
        """Return one finite score for each search result, in their order; higher is better.

        The search raises what this raises.
        """


class Reranking:
    """Re-rank the results of one agent's searches with a scoring function.

    It owns worker threads, which end by themselves a second after the last use.

    Args:
        reranker: the default for searches without a re-ranker of their own; None leaves their matches as they are.
        candidates: the number of best matches that are scored again, 1 to 1,000.

    Raises:
        ConfigurationError: an argument is wrong.
    """

    def __init__(self, reranker: Reranker | None, candidates: int) -> None:
        if reranker is not None and not callable(reranker):
            raise ConfigurationError(f"reranker must be callable, not {type(reranker).__name__}")
        if type(candidates) is not int or not 1 <= candidates <= _MAX_CANDIDATES:
            raise ConfigurationError(
                f"rerank_candidates must be an integer from 1 to {_MAX_CANDIDATES}, not {candidates!r}"
            )
        self._reranker = reranker
        self._candidates = candidates

    @cached_property
    def _workers(self) -> Workers:  # made when used: a server makes an agent for each request
        return Workers(name="reranking", threads=_THREADS, max_queue=_MAX_WAITING, idle_s=_IDLE_S)

    def select_reranker(self, rerank: bool | Reranker | None) -> Reranker | None:
        """Return the re-ranker for one search: its own, the agent's default, or None.

        Args:
            rerank: the search's own re-ranker, None or True for the agent's, or False for none.

        Raises:
            ConfigurationError: `rerank` is True, and the agent has no re-ranker.
            InvalidInputError: `rerank` is not callable.
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

    def candidate_count(self, top_k: int) -> int:
        """Return the number of results to fetch so that re-ranking can keep the best `top_k`.

        Raises:
            InvalidInputError: `top_k` exceeds the number of candidates.
        """
        if isinstance(top_k, int) and top_k > self._candidates:  # the store rejects a `top_k` that is no integer
            raise InvalidInputError(
                f"top_k is {top_k}, but only {self._candidates} matches are re-ranked",
                field="top_k",
                hint=f"give the agent rerank_candidates={top_k}, or pass rerank=False",
            )
        return self._candidates if type(top_k) is int and top_k > 0 else top_k

    async def rerank(self, reranker: Reranker, query_text: str, matches: Sequence[Match], top_k: int) -> list[Match]:
        """Score search results again with `reranker`, and return the best `top_k`, best first.

        Matches with equal scores keep their order. Errors of `reranker` are raised unchanged. Cancelling cancels an
        asynchronous `reranker`; a plain one that has begun finishes in its thread, and its scores are dropped.

        Raises:
            ConfigurationError: `reranker` did not return one finite score for each match.
        """
        if not matches:
            return []
        scores = _validate_scores(await self._scores(reranker, query_text, tuple(matches)), len(matches))
        order = sorted(range(len(matches)), key=lambda i: -scores[i])
        return [_rescored(matches[i], scores[i]) for i in order[:top_k]]

    async def _scores(self, reranker: Reranker, query_text: str, matches: Sequence[Match]) -> object:
        if isinstance(reranker, LLMReranker):
            return await reranker.arerank(query_text, matches)
        call = partial(reranker, query_text, matches)
        if driven_by_thread():
            return await self._workers.submit(partial(_run_to_end, call))
        result = call() if _is_asynchronous(reranker) else await self._workers.submit(call)
        return await result if inspect.isawaitable(result) else result


def _is_asynchronous(reranker: Reranker) -> bool:
    return inspect.iscoroutinefunction(reranker) or inspect.iscoroutinefunction(type(reranker).__call__)


def _run_to_end(call: Callable[[], Scores | Awaitable[Scores]]) -> object:
    # In a worker thread without an event loop, so an asynchronous re-ranker gets a new one.
    result = call()

    async def finish() -> object:
        return await cast("Awaitable[Scores]", result)

    return asyncio.run(finish()) if inspect.isawaitable(result) else result


def _validate_scores(returned: object, count: int) -> list[float]:
    try:
        scores = [float(score) for score in cast("Scores", returned)]
    except (TypeError, ValueError) as exc:
        raise ConfigurationError(f"the reranker gave {type(returned).__name__}, not {count} scores") from exc
    if len(scores) != count or not all(map(math.isfinite, scores)):
        raise ConfigurationError(f"the reranker must give {count} finite scores, one for each match, in their order")
    return scores


def _rescored(match: Match, score: float) -> Match:
    if not isinstance(match, ExplainedMatch):
        return match.rescored(score)
    explanation = Explanation(signals=(one_signal("rerank", score),), retrieved=match.explanation)
    return ExplainedMatch.of(match, explanation, score=score)
