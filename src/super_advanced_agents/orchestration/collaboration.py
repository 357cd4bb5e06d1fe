"""One answer out of several: by majority, by a critic's choice, or by rounds of talk."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from super_advanced_agents.embeddings import EmbeddingPipeline
from super_advanced_agents.orchestration.critic import picked
from super_advanced_agents.orchestration.member_calls import CallOptions, MemberCall, aask_member, nobody_answered
from super_advanced_agents.orchestration.members import Member
from super_advanced_agents.orchestration.outcome import Outcome
from super_advanced_agents.orchestration.parallel import aask_all, outcome_of
from super_advanced_agents.orchestration.prompt import judged, reconsidered
from super_advanced_agents.orchestration.similarity import AnswerGroup, grouped, normalised

_COMPARED_CHARS = 8_192
_REASON_CHARS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Collaboration:
    """One question to several agents.

    Attributes:
        members: who takes part; ties go to the first.
        query: the question.
        terms: how long they may take.
        pipeline: finds answers that say the same in other words; only the words count when None.
        same: from which similarity two answers are the same.
        context_chars: how much of the others' answers each is shown.
    """

    members: Sequence[Member]
    query: str
    terms: CallOptions
    pipeline: EmbeddingPipeline | None
    same: float
    context_chars: int

    async def amajority(self) -> Outcome:
        """All are asked; the answer that most of them give wins."""
        began = time.monotonic()
        asked = await aask_all(self.members, [self.query] * len(self.members), self.terms)
        return await self._amost(asked, asked, began)

    async def acritic(self, critic: Member) -> Outcome:
        """All are asked; the critic picks one of the answers. If it does not, the majority decides."""
        began = time.monotonic()
        asked = await aask_all(self.members, [self.query] * len(self.members), self.terms)
        answered = [each for each in asked if each.answered]
        if len(answered) < 2:
            return await self._amost(asked, asked, began, reason="there was nothing to choose from")
        question = judged(self.query, [each.step.text for each in answered], most_chars=self.context_chars)
        verdict = await aask_member(critic, question, self.terms, about=self.query)
        everything = [*asked, verdict]
        choice = picked(verdict.step.text, len(answered))
        if choice is None:
            told = "named none of the answers" if verdict.spoke else f"did not answer ({verdict.step.error})"
            return await self._amost(asked, everything, began, reason=f"the critic {told}: the majority was taken")
        return outcome_of(answered[choice], everything, began, reason=verdict.step.text[:_REASON_CHARS])

    async def aconsensus(self, max_rounds: int) -> Outcome:
        """Rounds in which each sees the others' answers, until all say the same; then, or in the end, the majority."""
        began = time.monotonic()
        questions = [self.query] * len(self.members)
        everything: list[MemberCall] = []
        latest: list[MemberCall] = []
        for number in range(1, max_rounds + 1):
            about = None if number == 1 else self.query
            asked = await aask_all(self.members, questions, self.terms, about=about, number=number)
            everything += asked
            if not any(each.answered for each in asked):
                latest = latest or asked
                break  # a round without answers takes nothing back
            latest = asked
            if number == max_rounds or len(await self._agroups([each for each in asked if each.answered])) == 1:
                break
            questions = [self._reconsidered(asked, own) for own in range(len(asked))]
        return await self._amost(latest, everything, began)

    def _reconsidered(self, asked: Sequence[MemberCall], own: int) -> str:
        others = [each.step.text for place, each in enumerate(asked) if place != own and each.answered]
        return reconsidered(self.query, others, most_chars=self.context_chars) if others else self.query

    async def _amost(
        self, asked: Sequence[MemberCall], everything: Sequence[MemberCall], began: float, *, reason: str = ""
    ) -> Outcome:
        """What most of `asked` say; those who know nothing, or failed, have no vote."""
        answered = [each for each in asked if each.answered]
        if not answered:
            spoke = next((each for each in asked if each.spoke), None)
            if spoke is None:
                raise nobody_answered(asked)
            return outcome_of(spoke, everything, began, reason=reason, agreement=0.0)
        groups = await self._agroups(answered)
        return outcome_of(
            answered[groups[0].leader],
            everything,
            began,
            contributors=[answered[place] for place in groups[0].members],
            reason=reason,
            agreement=len(groups[0].members) / len(answered),
        )

    async def _agroups(self, answered: Sequence[MemberCall]) -> list[AnswerGroup]:
        texts = [each.step.text for each in answered]
        vectors = None
        if self.pipeline is not None and len({normalised(text) for text in texts}) > 1:
            async with self.terms.deadline.over("comparing the answers"):
                vectors = await self.pipeline.aembed_batch([text[:_COMPARED_CHARS] for text in texts])
        return grouped(texts, vectors, least=self.same)
