"""Registration of agents with an orchestrator, and a report of their health."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from super_advanced_agents._runtime.concurrency.sync_bridge import blocking
from super_advanced_agents._runtime.remote.circuit_breaker import CircuitBreaker
from super_advanced_agents.config import LIMITS, checked_agent_name, checked_text
from super_advanced_agents.embeddings import EmbeddingPipeline
from super_advanced_agents.errors import ConfigurationError, InvalidInputError
from super_advanced_agents.orchestration.answer_budget import AnswerBudget
from super_advanced_agents.orchestration.critic import Critic, as_critic
from super_advanced_agents.orchestration.deadline import Deadline
from super_advanced_agents.orchestration.member_calls import CallOptions
from super_advanced_agents.orchestration.members import (
    Member,
    Members,
    checked_description,
    checked_labels,
    checked_user,
    normalise_task,
)
from super_advanced_agents.orchestration.protocols import SupportsAsk
from super_advanced_agents.stores.validation import checked_top_k
from super_advanced_agents.types import JSONValue

_QUERY_BYTES = LIMITS.text_bytes // 2
"""Half of the text limit of an agent; the other half is room for other agents' answers."""


class Registration:
    """Hold the settings and agents of an orchestrator; the base class of `Orchestrator`."""

    def __init__(
        self,
        *,
        embedding_pipeline: EmbeddingPipeline | None = None,
        critic: Critic | None = None,
        default: str | None = None,
        timeout_s: float = 60.0,
        failures: int = 5,
        cool_down_s: float = 30.0,
        min_similarity: float = 0.1,
        same_answer: float = 0.9,
        context_chars: int = 2_000,
    ) -> None:
        for name, number in (("failures", failures), ("context_chars", context_chars)):
            if type(number) is not int or number < 1:
                raise ConfigurationError(f"{name} must be a positive integer, not {number!r}")
        for name, value, minimum in (
            *(("timeout_s", timeout_s, 0.001), ("cool_down_s", cool_down_s, 0.0)),
            *(("min_similarity", min_similarity, -1.0), ("same_answer", same_answer, -1.0)),
        ):
            if not _is_number(value) or not minimum <= value < math.inf:
                raise ConfigurationError(f"{name} must be a finite number of at least {minimum:g}, not {value!r}")
        self._pipeline = embedding_pipeline
        self._critic = None if critic is None else as_critic(critic)
        self._default = None if default is None else checked_agent_name(default, "default")
        self._timeout_s = float(timeout_s)
        self._failures = failures
        self._cool_down_s = float(cool_down_s)
        self._min_similarity = min_similarity
        self._same_answer = same_answer
        self._context_chars = context_chars
        self._members = Members()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self.agents)})"

    @property
    def agents(self) -> tuple[str, ...]:
        """The names of the registered agents, in the order of their registration."""
        return tuple(member.name for member in self._members.all())

    def register_agent(
        self,
        name: str,
        agent: SupportsAsk,
        *,
        tasks: Sequence[str] = (),
        users: Sequence[str] = (),
        description: str = "",
        routed: bool = True,
    ) -> None:
        """Register an agent under a name, with the tasks (topics) and users that it serves.

        Args:
            name: the agent's name in this orchestrator: 1 to 256 characters without control characters.
            agent: the object that answers.
            tasks: the tasks it is for, such as `"billing"`, compared without regard to case; any task when empty.
            users: the ids of the only users it serves when a question is routed; all users when empty.
            description: a description of its abilities, for routing by similarity; its name and tasks when empty.
            routed: True if it is asked without being named, when a question is routed or goes to all agents.

        Raises:
            InvalidInputError: an argument is wrong, the name is taken, or the agent has no `aask`.
            ConfigurationError: the agent is this orchestrator, or another one that asks this one.
        """
        checked_agent_name(name, "name")
        if isinstance(agent, type) or not isinstance(agent, SupportsAsk):
            raise InvalidInputError(
                f"agent {name!r} has no asynchronous `aask`",
                field="agent",
                hint="give an AsyncLLMAgent, not an LLMAgent",
            )
        if isinstance(agent, Registration) and agent._can_reach(self, set()):
            raise ConfigurationError(
                f"agent {name!r} would ask itself through this orchestrator", hint="register its agents one by one"
            )
        self._members.add(
            Member(
                name=name,
                agent=agent,
                tasks=frozenset(
                    normalise_task(task, f"tasks[{i}]") for i, task in enumerate(checked_labels(tasks, "tasks"))
                ),
                users=frozenset(
                    checked_user(user, f"users[{i}]") for i, user in enumerate(checked_labels(users, "users"))
                ),
                description=checked_description(description),
                routed=routed,
                breaker=CircuitBreaker(failures=self._failures, cool_down_s=self._cool_down_s),
            )
        )

    def unregister_agent(self, name: str) -> None:
        """Remove the agent with the given name; its running calls go on to their end.

        Raises:
            AgentNotFoundError: there is no agent of that name.
        """
        self._members.remove(name)

    async def asupervise(self) -> dict[str, JSONValue]:
        """Report the health, counts and latencies of all agents, without asking them.

        Returns:
            `{"healthy": n, "recovering": n, "sick": n, "agents": {name: {...}}}`. For each agent: `health`
            (`"healthy"`; `"recovering"`, tried with one call at a time; `"sick"`, not called), `circuit` (`"closed"`,
            `"half-open"`, `"open"`), `failures_in_a_row` and `retry_after_s`; the number of `calls`, and the numbers of
            those that `answered`, were `empty`, `failed`, `timed_out` or were `cancelled`; the number of calls
            `skipped` by the circuit breaker; the number of calls `in_flight`; `latency_p50_s` and `latency_p95_s` of
            the last 512 answers, None before the first; `last_error`, the name of a class; `description` and `tasks`.
        """
        reports: dict[str, JSONValue] = {member.name: member.report() for member in self._members.all()}
        health = Counter(report["health"] for report in reports.values() if isinstance(report, dict))
        return {**{kind: health[kind] for kind in ("healthy", "recovering", "sick")}, "agents": reports}

    supervise = blocking(asupervise)

    def _call_options(self, query: str, top_k: int, timeout_s: float | None, deadline_s: float | None) -> CallOptions:
        checked_text(query, "query", max_bytes=_QUERY_BYTES)
        checked_top_k(top_k, limits=LIMITS)
        for field, value in (("timeout_s", timeout_s), ("deadline_s", deadline_s)):
            if value is not None and (not _is_number(value) or not 0 < value < math.inf):
                raise InvalidInputError(f"{field} must be a positive number of seconds, not {value!r}", field=field)
        return CallOptions(
            top_k=top_k,
            timeout_s=self._timeout_s if timeout_s is None else timeout_s,
            health_timeout_s=self._timeout_s,
            deadline=Deadline(deadline_s),
            budget=AnswerBudget(),
        )

    def _embedding_pipeline(self, members: Sequence[Member]) -> EmbeddingPipeline | None:
        if self._pipeline is not None:
            return self._pipeline
        pipelines = (getattr(member.agent, "embedding_pipeline", None) for member in members)
        return next((pipeline for pipeline in pipelines if isinstance(pipeline, EmbeddingPipeline)), None)

    def _can_reach(self, other: Registration, seen: set[int]) -> bool:
        # True if a question to this orchestrator can be passed on to `other`.
        if self is other:
            return True
        seen.add(id(self))
        agents = [member.agent for member in self._members.all()]
        return any(
            agent._can_reach(other, seen)
            for agent in agents
            if isinstance(agent, Registration) and id(agent) not in seen
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
