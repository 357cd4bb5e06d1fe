"""Answers of an agent: the search for memories, the language model's text, and its check."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from super_advanced_agents._runtime.futures import in_thread
from super_advanced_agents._runtime.sync_bridge import Overridable, blocking, blocking_iterator
from super_advanced_agents.agents.prompt import NOTHING_KNOWN, answer_messages
from super_advanced_agents.config import LIMITS, checked_text
from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.generation import LLMGenerator
from super_advanced_agents.retrieval import unsupported_terms
from super_advanced_agents.types import Answer, AnswerEvent, ChatMessage, Match


class Answering(Overridable):
    """Provide the methods of `LLMAgent` that answer questions from memories."""

    name: str
    llm_generator: LLMGenerator | None
    _context_chars: int
    _answer_tokens: int

    if TYPE_CHECKING:

        async def _asearch_text(self, query_text: str, top_k: int = 5) -> list[Match]: ...

    async def _aask(self, question: str, top_k: int = 5, *, sources: Sequence[Match] | None = None) -> Answer:
        """Answer a question with the language model, from the memories that match it best.

        A cancelled call frees the model's slot within one token.

        Args:
            question: the question, in plain words.
            top_k: the number of memories that the model is shown.
            sources: the memories to answer from; `search_text` finds them when None.

        Returns:
            The model's answer, greedily decoded, the memories that it was shown, and the names and numbers of the
            answer that stand in none of them. Without any memory the model is not called, and the answer says that
            nothing is known.

        Raises:
            ConfigurationError: the agent has no `llm_generator`.
        """
        task = await self._prepare(question, top_k, sources)
        if not task.messages:
            return Answer(text=NOTHING_KNOWN, sources=[])
        return await checked_answer(await task.llm.achat(task.messages, self._answer_tokens), task.sources, question)

    async def _aask_events(
        self, question: str, top_k: int = 5, *, sources: Sequence[Match] | None = None
    ) -> AsyncGenerator[AnswerEvent, None]:
        """Answer a question from memories, yielding sources, pieces of text, and the whole text.

        The sources come before the language model is called. The last event has the whole text, and the names and
        numbers in it that stand in no source. Leaving the iterator early frees the model's slot within one token.
        Arguments and errors are those of `ask`.
        """
        task = await self._prepare(question, top_k, sources)
        yield AnswerEvent(sources=task.sources)
        pieces: list[str] = []
        async with aclosing(self._pieces(task)) as stream:
            async for piece in stream:
                pieces.append(piece)
                yield AnswerEvent(text=piece)
        answer = await checked_answer("".join(pieces), task.sources, question)
        yield AnswerEvent(
            done=answer.text, grounded=answer.grounded, unsupported=answer.unsupported, quoted=answer.quoted
        )

    async def _astream_answer(
        self, question: str, top_k: int = 5, *, sources: Sequence[Match] | None = None
    ) -> AsyncGenerator[str, None]:
        """Answer a question from memories, yielding pieces of the text as the model generates them.

        The joined pieces are the answer. `ask_events` yields its sources and its check, too. Leaving the iterator early
        frees the model's slot within one token. Arguments and errors are those of `ask`.
        """
        task = await self._prepare(question, top_k, sources)
        async with aclosing(self._pieces(task)) as stream:
            async for piece in stream:
                yield piece

    async def _prepare(self, question: str, top_k: int, sources: Sequence[Match] | None) -> _AnswerTask:
        llm = self._required_llm()
        checked_text(question, "question", max_bytes=LIMITS.text_bytes)
        found = await self._asearch_text(question, top_k) if sources is None else list(sources)
        messages = answer_messages(question, found, context_chars=self._context_chars) if found else []
        return _AnswerTask(llm, found, messages)

    async def _pieces(self, task: _AnswerTask) -> AsyncGenerator[str, None]:
        if not task.messages:
            yield NOTHING_KNOWN
            return
        async with aclosing(task.llm.astream_chat(task.messages, self._answer_tokens)) as pieces:
            async for piece in pieces:
                yield piece

    def _required_llm(self) -> LLMGenerator:
        if self.llm_generator is None:
            raise ConfigurationError(
                f"agent {self.name!r} has no language model", hint="give it one: llm_generator=LLMGenerator()"
            )
        return self.llm_generator

    ask = blocking(_aask)
    ask_events = blocking_iterator(_aask_events)
    stream_answer = blocking_iterator(_astream_answer)


@dataclass(frozen=True, slots=True)
class _AnswerTask:
    llm: LLMGenerator
    sources: list[Match]
    messages: list[ChatMessage]  # empty where nothing is known


async def checked_answer(text: str, sources: list[Match], question: str) -> Answer:
    """Return an answer with the names and numbers in its text that stand in no source."""
    text = text.strip()
    texts = [source.text for source in sources]
    unsupported: list[str] = []
    if texts:  # in a thread: 200,000 characters of sources take seconds
        unsupported = await in_thread(lambda: unsupported_terms(text, texts, question=question), name="check an answer")
    return Answer(text=text, sources=sources, grounded=not unsupported, unsupported=unsupported)
