"""Concurrent calls to several agents, and the combination of their results."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from super_advanced_agents.orchestration.member_calls import CallOptions, MemberCall, ask_member
from super_advanced_agents.orchestration.members import Member
from super_advanced_agents.orchestration.outcome import Outcome, Step
from super_advanced_agents.types import Match


async def ask_all(
    members: Sequence[Member],
    questions: Sequence[str],
    options: CallOptions,
    *,
    about: str | None = None,
    quorum: int | None = None,
    round_number: int = 1,
) -> list[MemberCall]:
    """Ask agents concurrently, each its own question; return results in the agents' order.

    Returns when every call has ended, the cancelled ones included.

    Args:
        members: the agents to ask.
        questions: the question of each agent.
        options: the number of memories and the time limits.
        about: the text to search the agents' memories with; each agent's question when None.
        quorum: the remaining calls are cancelled once this number of agents have answered, or can no longer be reached;
            None waits for all.
        round_number: the round of a consensus, from 1.

    Raises:
        InvalidInputError: the answers of the operation are too large together; the remaining calls are cancelled.
    """
    started_at = time.monotonic()
    try:
        tasks = await _run_all(members, questions, options, about=about, quorum=quorum, round_number=round_number)
    except ExceptionGroup as exc:
        raise exc.exceptions[0] from None
    latency_s = time.monotonic() - started_at
    return [
        MemberCall(Step(agent=member.name, status="cancelled", latency_s=latency_s, round=round_number))
        if task.cancelled()
        else task.result()
        for member, task in zip(members, tasks, strict=True)
    ]


async def _run_all(
    members: Sequence[Member],
    questions: Sequence[str],
    options: CallOptions,
    *,
    about: str | None,
    quorum: int | None,
    round_number: int,
) -> list[asyncio.Task[MemberCall]]:
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(
                ask_member(member, question, options, about=about, round_number=round_number),
                name=f"ask {member.name}",
            )
            for member, question in zip(members, questions, strict=True)
        ]
        pending = set(tasks)
        while pending:
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            if quorum is not None:
                answered = sum(_has_answered(task) for task in tasks)
                if answered >= quorum or answered + len(pending) < quorum:
                    break
        for task in pending:
            task.cancel()
    return tasks


def _has_answered(task: asyncio.Task[MemberCall]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None and task.result().answered


def build_outcome(
    chosen: MemberCall,
    calls: Sequence[MemberCall],
    started_at: float,
    *,
    contributors: Sequence[MemberCall] = (),
    reason: str = "",
    agreement: float | None = None,
) -> Outcome:
    """Build an orchestrator's result (an `Outcome`) from the agent call whose answer is chosen.

    Args:
        chosen: the call that gave the answer.
        calls: all calls of the operation.
        started_at: the start of the operation, by `time.monotonic`.
        contributors: the calls whose answers are part of the outcome; `chosen` alone when empty.
        reason: why the answer was chosen.
        agreement: the fraction of the answers that say the same as the chosen one, or None.
    """
    contributors = contributors or [chosen]
    return Outcome(
        text=chosen.step.text,
        agent=chosen.step.agent,
        agents=tuple(dict.fromkeys(call.step.agent for call in contributors)),
        sources=_merge_sources(contributors),
        steps=tuple(call.step for call in calls),
        reason=reason,
        agreement=agreement,
        rounds=max(call.step.round for call in calls),
        latency_s=time.monotonic() - started_at,
    )


def _merge_sources(calls: Sequence[MemberCall]) -> list[Match]:
    merged: dict[tuple[str, str], Match] = {}
    for call in calls:
        for match in call.step.sources:
            # Agents of one namespace see the same memory; agents of two may have different memories of one uid.
            merged.setdefault((match.uid, str(match.metadata.get("text"))), match)
    return list(merged.values())
