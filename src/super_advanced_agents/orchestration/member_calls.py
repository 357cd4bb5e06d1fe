"""One question to one agent: in time, counted, and held against its health only if that is its own doing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

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
from super_advanced_agents.orchestration.circuit_breaker import BreakerPermit
from super_advanced_agents.orchestration.deadline import Deadline
from super_advanced_agents.orchestration.members import Member
from super_advanced_agents.orchestration.outcome import Step
from super_advanced_agents.orchestration.protocols import SupportsAsk, SupportsAskAbout
from super_advanced_agents.telemetry import get_logger
from super_advanced_agents.types import Answer

_log = get_logger("orchestration")

_DEEPEST = 8
_depth: ContextVar[int] = ContextVar("orchestration_depth", default=0)
"""How many orchestrators ask one another just now: what registration cannot see ends here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """What holds for every agent that one operation asks.

    Attributes:
        top_k: how many memories it looks at.
        timeout_s: how long one answer may take.
        patience_s: how long an agent may take before it counts as sick; a caller may give it less than that.
        deadline: of the whole operation.
    """

    top_k: int
    timeout_s: float
    patience_s: float
    deadline: Deadline


@dataclass(frozen=True, slots=True)
class MemberCall:
    """A step, and the error that ended it."""

    step: Step
    error: SuperAdvancedAgentsError | None = None

    @property
    def answered(self) -> bool:
        """Whether there is an answer that says something."""
        return self.step.status == "answered"

    @property
    def spoke(self) -> bool:
        """Whether there is a text, if only that nothing is known."""
        return self.step.status in ("answered", "empty")


async def aask_member(
    member: Member,
    question: str,
    terms: CallOptions,
    *,
    about: str | None = None,
    number: int = 1,
    admitted: BreakerPermit | None = None,
) -> MemberCall:
    """Ask one agent; whatever it raises becomes a step, and only a cancellation from outside passes through.

    Args:
        member: whom.
        question: what.
        terms: how long it may take.
        about: what to look for in its memories; `question` when None.
        number: which round this is.
        admitted: its breaker's pass, if it was asked for already.
    """
    admitted = admitted or member.breaker.admit()
    if admitted is None:
        step = Step(agent=member.name, status="skipped", error=AgentUnavailableError.__name__, round=number)
        member.counters.end(step)
        return MemberCall(step, unavailable([member]))
    began = time.monotonic()
    member.counters.begin()
    asked: MemberCall | None = None
    try:
        asked = await _aattempt(member, _aanswer(member.agent, question, about, terms.top_k), terms, began, number)
        return asked
    finally:
        _account(member, admitted, asked, terms, began)


async def _aanswer(agent: SupportsAsk, question: str, about: str | None, top_k: int) -> Answer:
    if about is None:
        return await agent.aask(question, top_k)
    if isinstance(agent, AsyncLLMAgent):
        return await agent.aask(question, top_k, sources=await agent.asearch_text(about, top_k))
    if isinstance(agent, SupportsAskAbout):
        return await agent.aask_about(question, about, top_k)
    return await agent.aask(question, top_k)


async def _aattempt(
    member: Member, answering: Coroutine[Any, Any, Answer], terms: CallOptions, began: float, number: int
) -> MemberCall:
    allowed_s = terms.deadline.at_most(terms.timeout_s)
    depth = _depth.get()
    token = _depth.set(depth + 1)
    try:
        if depth >= _DEEPEST:
            raise AgentError(f"orchestrators ask one another more than {_DEEPEST} deep", hint="look for a circle")
        async with asyncio.timeout(allowed_s):
            answer = await answering
        return MemberCall(_told(member, answer, began, number))
    except asyncio.CancelledError as exc:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # Nobody cancelled this call: something inside the agent was, which is a failure like any other.
        return _failed(member, exc, began, number)
    except TimeoutError as exc:
        error = AgentTimeoutError(f"agent {member.name!r} did not answer within {allowed_s:.3g} s")
        error.__cause__ = exc
        return MemberCall(_step(member, "timed_out", began, number, error=type(error).__name__), error)
    except Exception as exc:
        return _failed(member, exc, began, number)
    finally:
        answering.close()  # where it never began
        _depth.reset(token)


def _told(member: Member, answer: object, began: float, number: int) -> Step:
    if not isinstance(answer, Answer):
        raise AgentError(f"agent {member.name!r} returned a {type(answer).__name__}, not an Answer")
    # Whoever is shown it next, or sent it, takes neither: better here, once.
    text = answer.text.encode("utf-8", "replace").decode("utf-8").replace("\0", " ")
    nothing = not text.strip() or (not answer.sources and text == NOTHING_KNOWN)
    return Step(
        agent=member.name,
        status="empty" if nothing else "answered",
        text=text,
        sources=list(answer.sources),
        latency_s=time.monotonic() - began,
        round=number,
    )


def _failed(member: Member, exc: BaseException, began: float, number: int) -> MemberCall:
    if isinstance(exc, SuperAdvancedAgentsError):
        error = exc
    else:
        error = AgentError(f"agent {member.name!r} failed with {type(exc).__name__}")
        error.__cause__ = exc
        _log.warning("orchestration.agent_failed", extra={"agent": member.name, "error": type(exc).__name__})
        _log.debug("orchestration.agent_failure", exc_info=exc)  # it may quote what was asked
    return MemberCall(_step(member, "failed", began, number, error=type(exc).__name__), error)


def _step(member: Member, status: str, began: float, number: int, *, error: str | None = None) -> Step:
    latency_s = time.monotonic() - began
    return Step(agent=member.name, status=status, latency_s=latency_s, error=error, round=number)  # type: ignore[arg-type]


def _account(
    member: Member, admitted: BreakerPermit, asked: MemberCall | None, terms: CallOptions, began: float
) -> None:
    """Tell the tally and the breaker; `asked` is None when the call was cancelled."""
    member.counters.end(asked.step if asked is not None else _step(member, "cancelled", began, 1))
    if admitted.end(_says_of_health(asked, terms)):
        _log.warning("orchestration.circuit_opened", extra={"agent": member.name})


def _says_of_health(asked: MemberCall | None, terms: CallOptions) -> bool | None:
    if asked is None or isinstance(asked.error, InvalidInputError | RateLimitedError):
        return None
    if asked.step.status == "timed_out" and asked.step.latency_s < 0.9 * terms.patience_s:
        return None  # a hasty caller must not make an agent look sick to everybody else
    return asked.spoke


def unavailable(members: Sequence[Member]) -> AgentUnavailableError:
    """The error of agents that are all left alone for now."""
    names = ", ".join(repr(member.name) for member in members)
    return AgentUnavailableError(
        f"{names} failed too often of late",
        retry_after_s=round(min(member.breaker.retry_after_s for member in members), 3) or 0.1,
        hint="try again later",
    )


def nobody_answered(asked: Sequence[MemberCall]) -> SuperAdvancedAgentsError:
    """The error that stands for several: their own when it is of one kind, so that a refusal stays that refusal."""
    errors = [each.error for each in asked if each.error is not None]
    kinds = {type(error) for error in errors}
    if len(errors) == 1 or (len(kinds) == 1 and not isinstance(errors[0], AgentError)):
        return errors[0]
    told = f"no agent answered: {', '.join(f'{each.step.agent} ({each.step.error})' for each in asked if each.error)}"
    unready = [error.retry_after_s for error in errors if isinstance(error, AgentUnavailableError)]
    if len(unready) == len(errors):
        return AgentUnavailableError(told, retry_after_s=min(unready), hint="try again later")
    combined = AgentTimeoutError(told) if kinds == {AgentTimeoutError} else AgentError(told)
    combined.__cause__ = errors[-1]
    return combined
