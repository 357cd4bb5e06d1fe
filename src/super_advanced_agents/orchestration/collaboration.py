"""One answer from several agents: by majority, by a critic (judging agent) or by consensus."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from super_advanced_agents.embeddings import EmbeddingPipeline
from super_advanced_agents.orchestration.critic import parse_verdict
from super_advanced_agents.orchestration.member_calls import CallOptions, MemberCall, ask_member, no_answer_error
from super_advanced_agents.orchestration.members import Member
from super_advanced_agents.orchestration.outcome import Outcome
from super_advanced_agents.orchestration.parallel import ask_all, build_outcome
from super_advanced_agents.orchestration.prompt import consensus_prompt, critic_prompt
from super_advanced_agents.orchestration.similarity import AnswerGroup, group_answers, normalise_answer

_COMPARED_CHARS = 8_192
_REASON_CHARS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Collaboration:
    """Ask several agents one question and choose one of their answers.

    Attributes:
        members: the agents to ask; a tie goes to the one that stands first.
        query: the question.
        options: `top_k`, the time limits and the deadline of every call.
        pipeline: finds answers that mean the same in other words; when None, only their words are compared.
        min_similarity: the cosine from which two answers count as the same.
        context_chars: the most characters of other agents' answers that an agent or the critic is shown.
    """

    members: Sequence[Member]
    query: str
    options: CallOptions
    pipeline: EmbeddingPipeline | None
    min_similarity: float
    context_chars: int

    async def decide_by_majority(self) -> Outcome:
        """Ask all agents the question, and return the answer that most of them give."""
        started_at = time.monotonic()
        calls = await ask_all(self.members, [self.query] * len(self.members), self.options)
        return await self._majority_outcome(calls, calls, started_at)

    async def decide_by_critic(self, critic: Member) -> Outcome:
        """Ask all agents the question, and return the answer that the judging agent `critic` picks.

        The majority's answer is returned if the critic picks none, or if fewer than two agents answer.
        """
        started_at = time.monotonic()
        calls = await ask_all(self.members, [self.query] * len(self.members), self.options)
        answered = [call for call in calls if call.answered]
        if len(answered) < 2:
            return await self._majority_outcome(
                calls, calls, started_at, reason="fewer than two agents answered, so the critic was not asked"
            )
        question = critic_prompt(self.query, [call.step.text for call in answered], max_chars=self.context_chars)
        verdict = await ask_member(critic, question, self.options, about=self.query)
        all_calls = [*calls, verdict]
        choice = parse_verdict(verdict.step.text, len(answered))
        if choice is None:
            problem = "named none of the answers" if verdict.replied else f"did not answer ({verdict.step.error})"
            return await self._majority_outcome(
                calls, all_calls, started_at, reason=f"the critic {problem}: the majority was taken"
            )
        return build_outcome(answered[choice], all_calls, started_at, reason=verdict.step.text[:_REASON_CHARS])

    async def reach_consensus(self, max_rounds: int) -> Outcome:
        """Ask all agents in rounds until they agree or the rounds end; return the majority answer.

        From the second round on, each agent is shown the answers that the others gave in the round before. After
        `max_rounds` the majority of the last round decides.
        """
        started_at = time.monotonic()
        questions = [self.query] * len(self.members)
        all_calls: list[MemberCall] = []
        latest: list[MemberCall] = []
        for round_number in range(1, max_rounds + 1):
            about = None if round_number == 1 else self.query
            calls = await ask_all(self.members, questions, self.options, about=about, round_number=round_number)
            all_calls += calls
            if not any(call.answered for call in calls):
                latest = latest or calls
                break  # the answers of the round before still stand
            latest = calls
            if round_number == max_rounds or len(await self._group([call for call in calls if call.answered])) == 1:
                break
            questions = [self._next_question(calls, own) for own in range(len(calls))]
        return await self._majority_outcome(latest, all_calls, started_at)

    def _next_question(self, calls: Sequence[MemberCall], own: int) -> str:
        others = [call.step.text for position, call in enumerate(calls) if position != own and call.answered]
        return consensus_prompt(self.query, others, max_chars=self.context_chars) if others else self.query

    async def _majority_outcome(
        self, calls: Sequence[MemberCall], all_calls: Sequence[MemberCall], started_at: float, *, reason: str = ""
    ) -> Outcome:
        # Agents that failed or know nothing have no vote.
        answered = [call for call in calls if call.answered]
        if not answered:
            empty = next((call for call in calls if call.replied), None)
            if empty is None:
                raise no_answer_error(calls)
            return build_outcome(empty, all_calls, started_at, reason=reason, agreement=0.0)
        groups = await self._group(answered)
        return build_outcome(
            answered[groups[0].leader],
            all_calls,
            started_at,
            contributors=[answered[position] for position in groups[0].members],
            reason=reason,
            agreement=len(groups[0].members) / len(answered),
        )

    async def _group(self, answered: Sequence[MemberCall]) -> list[AnswerGroup]:
        texts = [call.step.text for call in answered]
        vectors = None
        if self.pipeline is not None and len({normalise_answer(text) for text in texts}) > 1:
            async with self.options.deadline.limit("comparing the answers"):
                vectors = await self.pipeline.aembed_batch([text[:_COMPARED_CHARS] for text in texts])
        return group_answers(texts, vectors, min_similarity=self.min_similarity)
