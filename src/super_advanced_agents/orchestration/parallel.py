"""Several agents at once, and what is made of their answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from super_advanced_agents.orchestration.member_calls import CallOptions, MemberCall, aask_member
from super_advanced_agents.orchestration.members import Member
from super_advanced_agents.orchestration.outcome import Outcome, Step
from super_advanced_agents.types import Match


async def aask_all(
    members: Sequence[Member],
    questions: Sequence[str],
    terms: CallOptions,
    *,
    about: str | None = None,
    enough: int | None = None,
    number: int = 1,
) -> list[MemberCall]:
    """Ask all of them at once; returns when all have ended, in the order of `members`.

    Args:
        members: whom.
        questions: what each is asked.
        terms: how long they may take.
        about: what each looks for in its memories; its question when None.
        enough: the rest is cancelled once so many have answered, or once so many cannot any more; None for never.
        number: which round this is.
    """
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(
                aask_member(member, question, terms, about=about, number=number), name=f"ask {member.name}"
            )
            for member, question in zip(members, questions, strict=True)
        ]
        pending = set(tasks)
        while pending:
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            if enough is not None:
                answered = sum(_answered(task) for task in tasks)
                if answered >= enough or answered + len(pending) < enough:
                    break
        for task in pending:
            task.cancel()
    latency_s = time.monotonic() - began
    return [
        MemberCall(Step(agent=member.name, status="cancelled", latency_s=latency_s, round=number))
        if task.cancelled()
        else task.result()
        for member, task in zip(members, tasks, strict=True)
    ]


def _answered(task: asyncio.Task[MemberCall]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None and task.result().answered


def outcome_of(
    chosen: MemberCall,
    asked: Sequence[MemberCall],
    began: float,
    *,
    contributors: Sequence[MemberCall] = (),
    reason: str = "",
    agreement: float | None = None,
) -> Outcome:
    """The outcome whose text is that of `chosen`.

    Args:
        chosen: whose words it is.
        asked: all that were.
        began: when, by `time.monotonic`.
        contributors: all whose answers are in it; `chosen` alone when empty.
        reason: as in `Outcome`.
        agreement: as in `Outcome`.
    """
    contributors = contributors or [chosen]
    return Outcome(
        text=chosen.step.text,
        agent=chosen.step.agent,
        agents=tuple(dict.fromkeys(each.step.agent for each in contributors)),
        sources=_merged(contributors),
        steps=tuple(each.step for each in asked),
        reason=reason,
        agreement=agreement,
        rounds=max(each.step.round for each in asked),
        latency_s=time.monotonic() - began,
    )


def _merged(contributors: Sequence[MemberCall]) -> list[Match]:
    found: dict[tuple[str, str], Match] = {}
    for each in contributors:
        for match in each.step.sources:
            # Agents of one namespace are shown the same memory; those of two may have two of the same uid.
            found.setdefault((match.uid, str(match.metadata.get("text"))), match)
    return list(found.values())
