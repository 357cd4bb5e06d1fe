"""`Orchestrator`, which answers a question by asking one agent or several."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal, TypeAlias

from super_advanced_agents._runtime.concurrency.own_loop import blocking_in_own_loop
from super_advanced_agents.agents.answers import checked_answer
from super_advanced_agents.errors import AgentError, AgentNotFoundError, ConfigurationError, InvalidInputError
from super_advanced_agents.generation import LLMGenerator
from super_advanced_agents.orchestration.collaboration import Collaboration
from super_advanced_agents.orchestration.critic import Critic, as_critic
from super_advanced_agents.orchestration.member_calls import MemberCall, ask_member, no_answer_error, unavailable_error
from super_advanced_agents.orchestration.members import Member, checked_user, normalise_task
from super_advanced_agents.orchestration.outcome import Outcome
from super_advanced_agents.orchestration.parallel import ask_all, build_outcome
from super_advanced_agents.orchestration.prompt import chain_prompt
from super_advanced_agents.orchestration.registration import Registration
from super_advanced_agents.orchestration.routing import rank_members
from super_advanced_agents.types import Answer

Voting: TypeAlias = Literal["majority", "critic", "consensus"]
Wait: TypeAlias = Literal["first", "all"] | int

_MAX_ROUNDS = 10


class Orchestrator(Registration):
    """Answer a question with the best-suited agent, or with several, in sequence or at once.

    An agent is an object with the method of `SupportsAsk`: an `AsyncLLMAgent`, an agent of another server, or another
    orchestrator. The orchestrator owns none of its agents and stores no memories. Each call of an agent has a time
    limit. A circuit breaker stops calls to an agent that fails several times in a row, and later tries it again with
    one call at a time; `supervise` reports this. All operations may run concurrently, in event loops and threads.

    A cancelled operation cancels every agent call it waits for, waits until they have ended, and leaves no task.

    Args:
        embedding_pipeline: compares questions with descriptions, and answers with one another; when None, the pipeline
            of the first agent that has one.
        critic: judges answers in `acollaborate(voting="critic")`, unless that call names another one; when None, the
            language model of the first agent that has one.
        default: the agent that a question is routed to when no other fits; when None, `AgentNotFoundError` is raised.
        timeout_s: the time limit of one answer, in seconds.
        failures: the number of failures in a row after which an agent is not called for a while.
        cool_down_s: seconds for which such an agent is not called.
        min_similarity: the cosine of question and description below which an agent does not fit.
        same_answer: the cosine from which two answers count as the same.
        context_chars: the most characters of other agents' answers that an agent or critic is shown.

    Raises:
        ConfigurationError: an argument is wrong.
    """

    async def aroute(
        self,
        query: str,
        task: str | None = None,
        user_id: str | None = None,
        *,
        top_k: int = 5,
        timeout_s: float | None = None,
        deadline_s: float | None = None,
    ) -> Outcome:
        """Choose the agent best suited to a question, ask it, and return its answer.

        Agents registered for other users, or for other tasks than `task`, do not take part. Of the rest, agents for the
        task come first, then agents for the user, then those with the most similar description, then those registered
        first. Without a match of task or user, an agent fits if its similarity is at least `min_similarity`, or if it
        is the only one left. If none fits, `default` is asked. An agent that failed too often recently is skipped, and
        the next one that fits is asked.

        Args:
            query: the question, at most 32 KiB.
            task: the topic of the question.
            user_id: the user who asks.
            top_k: the number of memories that the agent looks at.
            timeout_s: the time limit of the answer, in seconds; the orchestrator's when None.
            deadline_s: the time limit of the whole operation, in seconds.

        Raises:
            AgentNotFoundError: no agent fits, and there is no default.
            AgentUnavailableError: all agents that fit failed too often recently.
            AgentTimeoutError: the agent did not answer in time.
            AgentError: the agent raised an error that is not of this package. Errors of this package are raised as
                they are.
            ConfigurationError: the choice needs an embedding pipeline, and there is none.
        """
        started_at = time.monotonic()
        options = self._call_options(query, top_k, timeout_s, deadline_s)
        members = [member for member in self._members.all() if member.routed]
        async with options.deadline.limit("choosing an agent"):
            ranked = await rank_members(
                members,
                query,
                task=None if task is None else normalise_task(task, "task"),
                user_id=None if user_id is None else checked_user(user_id, "user_id"),
                pipeline=self._embedding_pipeline(members),
                min_similarity=self._min_similarity,
                default=self._default,
            )
        for member, reason in ranked:
            permit = member.breaker.admit()
            if permit is not None:
                call = await ask_member(member, query, options, permit=permit)
                if not call.replied:
                    raise no_answer_error([call])
                return build_outcome(call, [call], started_at, reason=reason)
        raise unavailable_error([member for member, _ in ranked])

    async def achain(
        self,
        query: str,
        names: Sequence[str],
        *,
        top_k: int = 5,
        timeout_s: float | None = None,
        deadline_s: float | None = None,
    ) -> Outcome:
        """Ask agents in sequence, each with the question and the last answer; return the final one.

        The answer before is shown as data, not as instructions. An agent's memories are searched with the question and
        that answer. After an agent that knows nothing, the next one is shown the last answer there is. The outcome's
        text is that of the last agent. If an agent does not answer, the chain ends with its error.

        Args:
            query: the question, at most 32 KiB.
            names: 1 to 32 agents; a name may occur more than once.
            top_k: the number of memories that each agent looks at.
            timeout_s: the time limit of each answer, in seconds; the orchestrator's when None.
            deadline_s: the time limit of the whole operation, in seconds.

        Raises:
            AgentNotFoundError: there is no agent of one of the names.
            AgentUnavailableError: an agent failed too often recently.
            AgentTimeoutError: an agent did not answer in time.
            AgentError: an agent failed.
        """
        started_at = time.monotonic()
        options = self._call_options(query, top_k, timeout_s, deadline_s)
        calls: list[MemberCall] = []
        previous = ""
        for member in self._members.get_many(names, repeated=True):
            question = chain_prompt(query, previous, max_chars=self._context_chars) if previous else query
            about = f"{query}\n{previous[: self._context_chars]}" if previous else None
            call = await ask_member(member, question, options, about=about)
            if not call.replied:
                raise no_answer_error([call])
            calls.append(call)
            previous = call.step.text if call.answered else previous
        return build_outcome(calls[-1], calls, started_at, contributors=calls)

    async def afallback(
        self,
        query: str,
        primary: str,
        backup: str | Sequence[str],
        *,
        top_k: int = 5,
        timeout_s: float | None = None,
        deadline_s: float | None = None,
    ) -> Outcome:
        """Ask one agent, then backup agents in order, until one has an answer; return that answer.

        The next agent is asked if the one before it fails, is late, knows nothing, or failed too often recently. If no
        agent has an answer, but one said that it knows nothing, that is the outcome.

        Args:
            query: the question, at most 32 KiB.
            primary: the agent to ask first.
            backup: one agent, or several in order.
            top_k: the number of memories that each agent looks at.
            timeout_s: the time limit of each answer, in seconds; the orchestrator's when None. Leave room for the
                backups in `deadline_s`.
            deadline_s: the time limit of the whole operation, in seconds.

        Raises:
            AgentNotFoundError: there is no agent of one of the names.
            AgentUnavailableError: all agents failed too often recently.
            AgentTimeoutError: no agent answered in time.
            AgentError: no agent answered.
        """
        started_at = time.monotonic()
        options = self._call_options(query, top_k, timeout_s, deadline_s)
        backups = [backup] if isinstance(backup, str) else backup
        if not isinstance(backups, Sequence):
            raise InvalidInputError("backup must be a name or a list of names", field="backup")
        calls: list[MemberCall] = []
        is_single = isinstance(backup, str)
        fields = ["primary", *("backup" if is_single else f"backup[{i}]" for i in range(len(backups)))]
        for member in self._members.get_many([primary, *backups], fields=fields):
            call = await ask_member(member, query, options)
            calls.append(call)
            if call.answered:
                return build_outcome(call, calls, started_at)
        empty = next((call for call in calls if call.replied), None)
        if empty is None:
            raise no_answer_error(calls)
        return build_outcome(empty, calls, started_at)

    async def aparallel(
        self,
        query: str,
        names: Sequence[str] | None = None,
        *,
        wait: Wait = "first",
        top_k: int = 5,
        timeout_s: float | None = None,
        deadline_s: float | None = None,
    ) -> Outcome:
        """Ask agents at once, and wait for the first answer, a given number of answers, or all.

        With several answers, the outcome's text is that of the agent named first, and `steps` holds all of them.
        `acollaborate` compares them.

        Args:
            query: the question, at most 32 KiB.
            names: 1 to 32 agents; when None, all routed agents that serve every user.
            wait: `"first"` for the first answer of an agent that knows something, `"all"`, or a number of answers. The
                remaining calls are cancelled.
            top_k: the number of memories that each agent looks at.
            timeout_s: the time limit of each answer, in seconds; the orchestrator's when None.
            deadline_s: the time limit of the whole operation, in seconds; answers given by then count.

        Raises:
            AgentNotFoundError: there is no agent of one of the names, or no agent at all.
            AgentUnavailableError: all agents failed too often recently.
            AgentTimeoutError: no agent answered in time.
            AgentError: no agent answered, or fewer than `wait` did.
        """
        started_at = time.monotonic()
        options = self._call_options(query, top_k, timeout_s, deadline_s)
        if names is None:
            names = [member.name for member in self._members.all() if member.routed and not member.users]
            if not names:
                raise AgentNotFoundError(
                    "the orchestrator has no agent that serves all users", hint="add one with register_agent"
                )
        members = self._members.get_many(names)
        quorum = _quorum(wait, len(members))
        calls = await ask_all(members, [query] * len(members), options, quorum=quorum)
        answered = [call for call in calls if call.answered]
        if quorum is not None and quorum > 1 and len(answered) < quorum:
            raise AgentError(f"only {len(answered)} of the {quorum} requested answers were given") from (
                no_answer_error(calls) if any(call.error for call in calls) else None
            )
        replied = answered or [call for call in calls if call.replied]
        if not replied:
            raise no_answer_error(calls)
        return build_outcome(replied[0], calls, started_at, contributors=answered)

    async def acollaborate(
        self,
        query: str,
        names: Sequence[str],
        voting: Voting = "majority",
        *,
        critic: str | Critic | None = None,
        max_rounds: int = 3,
        top_k: int = 5,
        timeout_s: float | None = None,
        deadline_s: float | None = None,
    ) -> Outcome:
        """Ask several agents and choose one answer: by majority, a judge's pick or consensus.

        An agent that fails or knows nothing has no vote.

        Args:
            query: the question, at most 32 KiB.
            names: 1 to 32 agents; a tie goes to the agent named first.
            voting: `"majority"`, the answer that most agents give, in the same words or others (see
                `similarity.group_answers`); `"critic"`, the answer that a critic picks and explains, or the majority's
                if it picks none; `"consensus"`, the majority's answer after rounds in which each agent is shown the
                others' answers as data, until all say the same.
            critic: the name of a registered agent, another agent, or a language model.
            max_rounds: the most rounds of a consensus, 1 to 10.
            top_k: the number of memories that each agent looks at.
            timeout_s: the time limit of each answer, in seconds; the orchestrator's when None.
            deadline_s: the time limit of the whole operation, in seconds.

        Raises:
            AgentNotFoundError: there is no agent of one of the names.
            ConfigurationError: `voting` is `"critic"`, and there is no critic.
            AgentUnavailableError: all agents failed too often recently.
            AgentTimeoutError: no agent answered in time.
            AgentError: no agent answered.
        """
        options = self._call_options(query, top_k, timeout_s, deadline_s)
        members = self._members.get_many(names)
        collaboration = Collaboration(
            members=members,
            query=query,
            options=options,
            pipeline=self._embedding_pipeline(members),
            min_similarity=self._same_answer,
            context_chars=self._context_chars,
        )
        if voting == "majority":
            return await collaboration.decide_by_majority()
        if voting == "critic":
            return await collaboration.decide_by_critic(self._resolve_critic(critic, members))
        if voting == "consensus":
            if type(max_rounds) is not int or not 1 <= max_rounds <= _MAX_ROUNDS:
                raise InvalidInputError(f"max_rounds must be an integer from 1 to {_MAX_ROUNDS}", field="max_rounds")
            return await collaboration.reach_consensus(max_rounds)
        raise InvalidInputError("voting must be 'majority', 'critic' or 'consensus'", field="voting")

    async def aask(self, question: str, top_k: int = 5) -> Answer:
        """Choose the agent best suited to a question, ask it, and return its text and sources.

        With this method an orchestrator can be registered as an agent of another one. Errors are those of `route`.

        Args:
            question: the question.
            top_k: the number of memories that the agent looks at.

        Returns:
            The agent's answer; `unsupported` has the names and numbers of its text that stand in no source.
        """
        outcome = await self.aroute(question, top_k=top_k)
        return await checked_answer(outcome.text, outcome.sources, question)

    route = blocking_in_own_loop(aroute)
    chain = blocking_in_own_loop(achain)
    fallback = blocking_in_own_loop(afallback)
    parallel = blocking_in_own_loop(aparallel)
    collaborate = blocking_in_own_loop(acollaborate)
    ask = blocking_in_own_loop(aask)

    def _resolve_critic(self, critic: str | Critic | None, members: Sequence[Member]) -> Member:
        if isinstance(critic, str):
            return self._members.get(critic)
        if critic is not None:
            return as_critic(critic)
        if self._critic is not None:
            return self._critic
        models = (getattr(member.agent, "llm_generator", None) for member in members)
        llm = next((llm for llm in models if isinstance(llm, LLMGenerator)), None)
        if llm is None:
            raise ConfigurationError(
                "there is no critic", hint="give Orchestrator(critic=LLMGenerator()), or critic=..."
            )
        return as_critic(llm)


def _quorum(wait: Wait, agent_count: int) -> int | None:
    # None if all answers are to be waited for.
    if wait == "first":
        return 1
    if wait == "all":
        return None
    if type(wait) is not int or not 1 <= wait <= agent_count:
        raise InvalidInputError(
            f"wait must be 'first', 'all' or from 1 to {agent_count} answers, not {wait!r}", field="wait"
        )
    return wait
