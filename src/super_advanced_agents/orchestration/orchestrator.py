"""`Orchestrator`: several agents behind one question."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal, TypeAlias

from super_advanced_agents._runtime.own_loop import blocking_in_own_loop
from super_advanced_agents.errors import AgentError, AgentNotFoundError, ConfigurationError, InvalidInputError
from super_advanced_agents.generation import LLMGenerator
from super_advanced_agents.orchestration.collaboration import Collaboration
from super_advanced_agents.orchestration.critic import Critic, as_critic
from super_advanced_agents.orchestration.member_calls import MemberCall, aask_member, nobody_answered, unavailable
from super_advanced_agents.orchestration.members import (
    Member,
    checked_user,
    same_label,
)
from super_advanced_agents.orchestration.outcome import Outcome
from super_advanced_agents.orchestration.parallel import aask_all, outcome_of
from super_advanced_agents.orchestration.prompt import chained
from super_advanced_agents.orchestration.registration import Registration
from super_advanced_agents.orchestration.routing import aranked
from super_advanced_agents.types import Answer

Voting: TypeAlias = Literal["majority", "critic", "consensus"]
Wait: TypeAlias = Literal["first", "all"] | int

_MOST_ROUNDS = 10


class Orchestrator(Registration):
    """Asks the right agent, several in a row, or several at once; it owns none of them and keeps no memories.

    Agents are whatever answers (see `SupportsAsk`): an `AsyncLLMAgent`, an agent of another server, another orchestrator.
    Each call of an agent has a time limit. One that fails several times in a row is left alone for a while, then tried
    again with one call at a time; `supervise` tells. All operations may run side by side, in event loops and threads.

    Cancelled, an operation cancels every agent it is waiting for, waits until they have ended, and leaves no task.

    Args:
        embedding_pipeline: compares questions with descriptions, and answers with one another; the first agent's that
            has one when None.
        critic: judges in `acollaborate(voting="critic")` unless another is named there; the model of the first agent
            that has one when None.
        default: the agent that a question is routed to when no other fits; `AgentNotFoundError` when None.
        timeout_s: how long one answer may take.
        failures: after how many in a row an agent is left alone.
        cool_down_s: for how long.
        min_similarity: the cosine of question and description below which an agent does not fit.
        same_answer: the cosine from which two answers are the same.
        context_chars: how many characters of others' answers an agent or critic is shown at most.

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
        """Ask the one agent that fits best.

        Agents registered for other users, or for other tasks than `task`, are out. Of the rest, those for the task come
        first, then those for the user, then the most alike description, then who was registered first. Without a match
        of task or user an agent fits by a similarity of `min_similarity` or more, or by being the only one left; when none
        does, `default` is asked. An agent that failed too often of late is passed over for the next one that fits.

        Args:
            query: the question, at most 32 KiB.
            task: what it is about.
            user_id: who asks.
            top_k: how many memories the agent looks at.
            timeout_s: how long the answer may take; as the orchestrator was made when None.
            deadline_s: how long all of this may take.

        Raises:
            AgentNotFoundError: no agent fits, and there is no default.
            AgentUnavailableError: all that fit failed too often of late.
            AgentTimeoutError: it did not answer in time.
            AgentError: it failed with an error that is not of this package; errors that are come out as they are.
            ConfigurationError: nothing here can compare the question with descriptions.
        """
        began = time.monotonic()
        terms = self._terms(query, top_k, timeout_s, deadline_s)
        members = [member for member in self._members.all() if member.routed]
        async with terms.deadline.over("choosing an agent"):
            ranked = await aranked(
                members,
                query,
                task=None if task is None else same_label(task, "task"),
                user_id=None if user_id is None else checked_user(user_id, "user_id"),
                pipeline=self._embedding_pipeline(members),
                least=self._min_similarity,
                default=self._default,
            )
        for member, reason in ranked:
            admitted = member.breaker.admit()
            if admitted is not None:
                asked = await aask_member(member, query, terms, admitted=admitted)
                if not asked.spoke:
                    raise nobody_answered([asked])
                return outcome_of(asked, [asked], began, reason=reason)
        raise unavailable([member for member, _ in ranked])

    async def achain(
        self,
        query: str,
        names: Sequence[str],
        *,
        top_k: int = 5,
        timeout_s: float | None = None,
        deadline_s: float | None = None,
    ) -> Outcome:
        """Ask agents one after another; each is shown the question and, as data, what the one before it said.

        An agent's memories are searched with the question and that answer. One that knows nothing adds nothing: the
        next is shown the last answer there is. The last agent's words are the outcome's.

        Args:
            query: as for `aroute`.
            names: 1 to 32 agents; one may come more than once.
            top_k: how many memories each looks at.
            timeout_s: how long each answer may take.
            deadline_s: how long all of this may take.

        Raises:
            AgentNotFoundError: there is no agent of a name.
            AgentUnavailableError, AgentTimeoutError, AgentError: one did not answer; the chain is broken.
        """
        began = time.monotonic()
        terms = self._terms(query, top_k, timeout_s, deadline_s)
        links: list[MemberCall] = []
        said = ""
        for member in self._members.named(names, repeated=True):
            question = chained(query, said, most_chars=self._context_chars) if said else query
            about = f"{query}\n{said[: self._context_chars]}" if said else None
            asked = await aask_member(member, question, terms, about=about)
            if not asked.spoke:
                raise nobody_answered([asked])
            links.append(asked)
            said = asked.step.text if asked.answered else said
        return outcome_of(links[-1], links, began, contributors=links)

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
        """Ask one agent, and the next one only if it fails, is late, knows nothing, or failed too often of late.

        When nobody has an answer, but somebody said that nothing is known, that is the outcome.

        Args:
            query: as for `aroute`.
            primary: whom to ask first.
            backup: one agent, or several in order.
            top_k: how many memories each looks at.
            timeout_s: how long each answer may take; leave room for the backups in `deadline_s`.
            deadline_s: how long all of this may take.

        Raises:
            AgentNotFoundError: there is no agent of a name.
            AgentUnavailableError, AgentTimeoutError, AgentError: nobody answered.
        """
        began = time.monotonic()
        terms = self._terms(query, top_k, timeout_s, deadline_s)
        backups = [backup] if isinstance(backup, str) else backup
        if not isinstance(backups, Sequence):
            raise InvalidInputError("backup must be a name or a list of names", field="backup")
        tried: list[MemberCall] = []
        one = isinstance(backup, str)
        fields = ["primary", *("backup" if one else f"backup[{i}]" for i in range(len(backups)))]
        for member in self._members.named([primary, *backups], fields=fields):
            asked = await aask_member(member, query, terms)
            tried.append(asked)
            if asked.answered:
                return outcome_of(asked, tried, began)
        spoke = next((each for each in tried if each.spoke), None)
        if spoke is None:
            raise nobody_answered(tried)
        return outcome_of(spoke, tried, began)

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
        """Ask several agents at once.

        With more answers than one, the outcome's text is that of the agent named first; `steps` holds all. To have them
        compared, see `acollaborate`.

        Args:
            query: as for `aroute`.
            names: 1 to 32 agents; all that serve everybody when None.
            wait: `"first"` for the first answer that says something, `"all"`, or for how many. Who is not waited for is
                cancelled.
            top_k: how many memories each looks at.
            timeout_s: how long each answer may take.
            deadline_s: how long all of this may take; answers that came by then count.

        Raises:
            AgentNotFoundError: there is no agent of a name, or none at all.
            AgentUnavailableError, AgentTimeoutError, AgentError: nobody answered, or fewer than `wait`.
        """
        began = time.monotonic()
        terms = self._terms(query, top_k, timeout_s, deadline_s)
        if names is None:
            names = [member.name for member in self._members.all() if member.routed and not member.users]
            if not names:
                raise AgentNotFoundError(
                    "the orchestrator has no agent that serves everybody", hint="register_agent one"
                )
        members = self._members.named(names)
        enough = _enough(wait, len(members))
        asked = await aask_all(members, [query] * len(members), terms, enough=enough)
        answered = [each for each in asked if each.answered]
        if enough is not None and enough > 1 and len(answered) < enough:
            raise AgentError(f"{len(answered)} of the {enough} answers wanted were had") from (
                nobody_answered(asked) if any(each.error for each in asked) else None
            )
        spoke = answered or [each for each in asked if each.spoke]
        if not spoke:
            raise nobody_answered(asked)
        return outcome_of(spoke[0], asked, began, contributors=answered)

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
        """Ask several agents and make one answer of theirs. Who fails or knows nothing has no vote.

        Args:
            query: as for `aroute`.
            names: 1 to 32 agents; ties go to who is named first.
            voting: `"majority"`, what most of them say, in whatever words (see `similarity.grouped`); `"critic"`, what a
                language model picks and explains, the majority if it picks nothing; `"consensus"`, rounds in which each
                is shown the others' answers as data, until all say the same, then the majority.
            critic: one of the registered agents by name, any other agent, or a language model.
            max_rounds: of a consensus, 1 to 10.
            top_k: how many memories each looks at.
            timeout_s: how long each answer may take.
            deadline_s: how long all of this may take.

        Raises:
            AgentNotFoundError: there is no agent of a name.
            ConfigurationError: a critic is wanted, and there is none.
            AgentUnavailableError, AgentTimeoutError, AgentError: nobody answered.
        """
        terms = self._terms(query, top_k, timeout_s, deadline_s)
        members = self._members.named(names)
        together = Collaboration(
            members=members,
            query=query,
            terms=terms,
            pipeline=self._embedding_pipeline(members),
            same=self._same_answer,
            context_chars=self._context_chars,
        )
        if voting == "majority":
            return await together.amajority()
        if voting == "critic":
            return await together.acritic(self._chosen_critic(critic, members))
        if voting == "consensus":
            if type(max_rounds) is not int or not 1 <= max_rounds <= _MOST_ROUNDS:
                raise InvalidInputError(f"max_rounds must be an integer from 1 to {_MOST_ROUNDS}", field="max_rounds")
            return await together.aconsensus(max_rounds)
        raise InvalidInputError("voting must be 'majority', 'critic' or 'consensus'", field="voting")

    async def aask(self, question: str, top_k: int = 5) -> Answer:
        """`aroute`, as an agent answers: so that an orchestrator can be another one's agent."""
        outcome = await self.aroute(question, top_k=top_k)
        return Answer(text=outcome.text, sources=outcome.sources)

    route = blocking_in_own_loop(aroute)
    chain = blocking_in_own_loop(achain)
    fallback = blocking_in_own_loop(afallback)
    parallel = blocking_in_own_loop(aparallel)
    collaborate = blocking_in_own_loop(acollaborate)
    ask = blocking_in_own_loop(aask)

    def _chosen_critic(self, critic: str | Critic | None, members: Sequence[Member]) -> Member:
        if isinstance(critic, str):
            return self._members.get(critic)
        if critic is not None:
            return as_critic(critic)
        if self._critic is not None:
            return self._critic
        theirs = (getattr(member.agent, "llm_generator", None) for member in members)
        llm = next((llm for llm in theirs if isinstance(llm, LLMGenerator)), None)
        if llm is None:
            raise ConfigurationError(
                "there is no critic", hint="give Orchestrator(critic=LLMGenerator()), or critic=..."
            )
        return as_critic(llm)


def _enough(wait: Wait, agents: int) -> int | None:
    """How many answers are enough; None for as many as there are."""
    if wait == "first":
        return 1
    if wait == "all":
        return None
    if type(wait) is not int or not 1 <= wait <= agents:
        raise InvalidInputError(
            f"wait must be 'first', 'all' or from 1 to {agents} answers, not {wait!r}", field="wait"
        )
    return wait
