"""Calls to one agent, with a time limit, counters and the agent's circuit breaker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from super_advanced_agents._runtime.remote.circuit_breaker import BreakerPermit
from super_advanced_agents.agents import AsyncLLMAgent
from super_advanced_agents.agents.prompt import NOTHING_KNOWN
from super_advanced_agents.errors import (
    AgentError,
    AgentTimeoutError,
    AgentUnavailableError,
    InvalidInputError,
    RateLimitedError,
    SuperAdvancedAgentsError,
)
from super_advanced_agents.orchestration.answer_budget import AnswerBudget
from super_advanced_agents.orchestration.deadline import Deadline
from super_advanced_agents.orchestration.members import Member
from super_advanced_agents.orchestration.outcome import Step, StepStatus
from super_advanced_agents.orchestration.protocols import SupportsAsk, SupportsAskAbout
from super_advanced_agents.telemetry import get_logger
from super_advanced_agents.types import Answer

_log = get_logger("orchestration")

_MAX_DEPTH = 8
_depth: ContextVar[int] = ContextVar("orchestration_depth", default=0)
"""The number of nested orchestrators; it ends circles that registration cannot detect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """Hold the time limits and other options that all agent calls of one operation share.

    Attributes:
        top_k: the number of memories that the agent looks at.
        timeout_s: the time limit of one answer.
        health_timeout_s: the orchestrator's own time limit of one answer. A timeout after a much shorter `timeout_s`
            does not count against the agent's health.
        deadline: the deadline of the whole operation.
        budget: the bytes that its answers may have together.
    """

    top_k: int
    timeout_s: float
    health_timeout_s: float
    deadline: Deadline
    budget: AnswerBudget


@dataclass(frozen=True, slots=True)
class MemberCall:
    """Hold the result of one call to an agent: a description (a `Step`), and the error if any."""

    step: Step
    error: SuperAdvancedAgentsError | None = None

    @property
    def answered(self) -> bool:
        """True if the agent answered the question: it neither failed nor knew nothing."""
        return self.step.status == "answered"

    @property
    def replied(self) -> bool:
        """True if the agent answered the question, or said that it knows nothing about it."""
        return self.step.status in ("answered", "empty")


async def ask_member(
    member: Member,
    question: str,
    options: CallOptions,
    *,
    about: str | None = None,
    round_number: int = 1,
    permit: BreakerPermit | None = None,
) -> MemberCall:
    """Ask one agent a question, and return its answer or its error in a `MemberCall`.

    Every error that the agent raises is returned; a cancellation from outside is raised.

    Args:
        member: the agent to ask.
        question: the question.
        options: the number of memories and the time limits.
        about: the text to search the agent's memories with; `question` when None.
        round_number: the round of a consensus, from 1.
        permit: the permit of the agent's circuit breaker, if the caller has obtained it already.

    Raises:
        InvalidInputError: the answers of the operation are too large together.
    """
    permit = permit or member.breaker.admit()
    if permit is None:
        step = Step(agent=member.name, status="skipped", error=AgentUnavailableError.__name__, round=round_number)
        member.counters.end(step)
        return MemberCall(step, unavailable_error([member]))
    started_at = time.monotonic()
    member.counters.begin()
    call: MemberCall | None = None
    try:
        answering = _answer(member.agent, question, about, options.top_k)
        call = await _run_call(member, answering, options, started_at, round_number)
        options.budget.charge(call.step)
        return call
    finally:
        _record(member, permit, call, options, started_at)


async def _answer(agent: SupportsAsk, question: str, about: str | None, top_k: int) -> Answer:
    if about is None:
        return await agent.aask(question, top_k)
    if isinstance(agent, AsyncLLMAgent):
        return await agent.aask(question, top_k, sources=await agent.asearch_text(about, top_k))
    if isinstance(agent, SupportsAskAbout):
        return await agent.aask_about(question, about, top_k)
    return await agent.aask(question, top_k)


async def _run_call(
    member: Member,
    answering: Coroutine[Any, Any, Answer],
    options: CallOptions,
    started_at: float,
    round_number: int,
) -> MemberCall:
    allowed_s = options.deadline.cap(options.timeout_s)
    depth = _depth.get()
    token = _depth.set(depth + 1)
    try:
        if depth >= _MAX_DEPTH:
            raise AgentError(
                f"orchestrators ask one another more than {_MAX_DEPTH} deep",
                hint="check which of them contain each other",
            )
        async with asyncio.timeout(allowed_s):
            answer = await answering
        return MemberCall(_answer_step(member, answer, started_at, round_number))
    except asyncio.CancelledError as exc:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # Nobody cancelled this call: something inside the agent was cancelled, which is a failure like any other.
        return _failed_call(member, exc, started_at, round_number)
    except TimeoutError as exc:
        error = AgentTimeoutError(f"agent {member.name!r} did not answer within {allowed_s:.3g} s")
        error.__cause__ = exc
        return MemberCall(_end_step(member, "timed_out", started_at, round_number, error=type(error).__name__), error)
    except Exception as exc:
        return _failed_call(member, exc, started_at, round_number)
    finally:
        answering.close()  # a coroutine that was never started would warn
        _depth.reset(token)


def _answer_step(member: Member, answer: object, started_at: float, round_number: int) -> Step:
    if not isinstance(answer, Answer):
        raise AgentError(f"agent {member.name!r} returned a {type(answer).__name__}, not an Answer")
    # Later agents and the wire formats refuse lone surrogates and NUL characters: replace them here, once.
    text = answer.text.encode("utf-8", "replace").decode("utf-8").replace("\0", " ")
    is_empty = not text.strip() or (not answer.sources and text == NOTHING_KNOWN)
    return Step(
        agent=member.name,
        status="empty" if is_empty else "answered",
        text=text,
        sources=list(answer.sources),
        latency_s=time.monotonic() - started_at,
        round=round_number,
    )


def _failed_call(member: Member, exc: BaseException, started_at: float, round_number: int) -> MemberCall:
    if isinstance(exc, SuperAdvancedAgentsError):
        error = exc
    else:
        error = AgentError(f"agent {member.name!r} failed with {type(exc).__name__}")
        error.__cause__ = exc
        _log.warning("orchestration.agent_failed", extra={"agent": member.name, "error": type(exc).__name__})
        _log.debug("orchestration.agent_failure", exc_info=exc)  # at DEBUG only: it may quote the question
    return MemberCall(_end_step(member, "failed", started_at, round_number, error=type(exc).__name__), error)


def _end_step(
    member: Member, status: StepStatus, started_at: float, round_number: int, *, error: str | None = None
) -> Step:
    latency_s = time.monotonic() - started_at
    return Step(agent=member.name, status=status, latency_s=latency_s, error=error, round=round_number)


def _record(
    member: Member, permit: BreakerPermit, call: MemberCall | None, options: CallOptions, started_at: float
) -> None:
    # `call` is None if the call was cancelled.
    member.counters.end(call.step if call is not None else _end_step(member, "cancelled", started_at, 1))
    if permit.end(_is_success(call, options)):
        _log.warning("orchestration.circuit_opened", extra={"agent": member.name})


def _is_success(call: MemberCall | None, options: CallOptions) -> bool | None:
    # None if the call says nothing about the agent's health.
    if call is None or isinstance(call.error, InvalidInputError | RateLimitedError):
        return None
    if call.step.status == "timed_out" and call.step.latency_s < 0.9 * options.health_timeout_s:
        return None  # a caller with a short time limit must not make an agent look sick to all other callers
    return call.replied


def unavailable_error(members: Sequence[Member]) -> AgentUnavailableError:
    """Build the error which says that the given agents failed too often to be called now."""
    names = ", ".join(repr(member.name) for member in members)
    return AgentUnavailableError(
        f"{names} failed too often recently",
        retry_after_s=round(min(member.breaker.retry_after_s for member in members), 3) or 0.1,
        hint="try again later",
    )


def no_answer_error(calls: Sequence[MemberCall]) -> SuperAdvancedAgentsError:
    """Combine the errors of agent calls, none of which gave an answer, into one error.

    A single error is returned as it is, and so is the first of several that are of one class, other than `AgentError`
    and its subclasses: a rate limit, for example, stays a rate limit. Otherwise the error names each agent with the
    class of its error.
    """
    errors = [call.error for call in calls if call.error is not None]
    kinds = {type(error) for error in errors}
    if len(errors) == 1 or (len(kinds) == 1 and not isinstance(errors[0], AgentError)):
        return errors[0]
    failures = ", ".join(f"{call.step.agent} ({call.step.error})" for call in calls if call.error)
    message = f"no agent answered: {failures}"
    retry_delays_s = [error.retry_after_s for error in errors if isinstance(error, AgentUnavailableError)]
    if len(retry_delays_s) == len(errors):
        return AgentUnavailableError(message, retry_after_s=min(retry_delays_s), hint="try again later")
    combined = AgentTimeoutError(message) if kinds == {AgentTimeoutError} else AgentError(message)
    combined.__cause__ = errors[-1]
    return combined
