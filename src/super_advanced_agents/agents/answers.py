"""Answers of an agent: the search for memories, the language model's text, and its check."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypedDict, Unpack

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents._runtime.concurrency.sync_bridge import Overridable, blocking, blocking_iterator
from super_advanced_agents.agents.prompt import (
    NOTHING_KNOWN,
    PromptParts,
    checked_history,
    checked_instructions,
    quoted_answer,
    search_query,
)
from super_advanced_agents.agents.repetition import without_repetition
from super_advanced_agents.config import LIMITS, checked_text
from super_advanced_agents.errors import InvalidInputError, ModelNotFoundError
from super_advanced_agents.generation import LLMGenerator
from super_advanced_agents.retrieval import unsupported_terms
from super_advanced_agents.telemetry import get_logger
from super_advanced_agents.types import Answer, AnswerEvent, ChatMessage, Match, Where

_log = get_logger("agents")

_BUDGETS = (1.0, 0.5, 0.25)
"""The parts of the model's context that are tried in order.

Tokens are estimated, and the model may count more.
"""

_FEW_SOURCES = 32


class AskOptions(TypedDict, total=False):
    """Declare the arguments of `ask` here and at a server, which `LLMAgent.ask` describes."""

    where: Where | None
    instructions: str | None
    history: Sequence[ChatMessage | Mapping[str, str]] | None
    llm: bool
    min_similarity: float | None


class LocalAskOptions(AskOptions, total=False):
    """Declare the keyword arguments of `LLMAgent.ask`, which describes them."""

    sources: Sequence[Match] | None


class Answering(Overridable):
    """Provide the methods of `LLMAgent` that answer questions from memories."""

    name: str
    llm_generator: LLMGenerator | None
    _context_chars: int
    _answer_tokens: int

    if TYPE_CHECKING:

        async def _asearch_text(
            self,
            query_text: str,
            top_k: int = 5,
            *,
            where: Where | None = None,
            min_similarity: float | None = None,
        ) -> list[Match]: ...

    async def _aask(self, question: str, top_k: int = 5, **options: Unpack[LocalAskOptions]) -> Answer:
        """Answer a question with the language model, from the memories that match it best.

        Without a language model, or where its file cannot be had, the answer quotes the best memories. A cancelled call
        frees the model's slot within one token.

        Args:
            question: the question, in plain words.
            top_k: the number of memories that the model is shown.
            where: restricts the search to memories that match this filter.
            instructions: further instructions to the model, such as a language or a tone; at most 8 KiB.
            history: the messages before the question, of users and assistants, oldest first, at most 100 and 64 KiB;
                the latest that fit into the model's context are shown to it. A question of at most eight words is
                searched for together with the user's message before it.
            llm: False for an answer that quotes the best memories, without the language model.
            min_similarity: leaves out memories that are less similar to the question, as `search_text` does.
            sources: the memories to answer from; `search_text` finds them when None.

        Returns:
            The model's answer, greedily decoded and without sentences that it repeats, the memories that it was shown,
            and the names and numbers of the answer that stand in none of them, nor in `instructions` and the user's
            messages in `history`. Without any memory the model is not called, and the answer says that nothing is
            known.

        Raises:
            InvalidInputError: an argument is invalid, or longer than the model's context; `field` names it.
        """
        task = await self._prepare(question, top_k, **options)
        async with aclosing(self._pieces(task)) as stream:
            text = "".join([piece async for piece in stream])
        return await task.answer(text)

    async def _aask_events(
        self, question: str, top_k: int = 5, **options: Unpack[LocalAskOptions]
    ) -> AsyncGenerator[AnswerEvent, None]:
        """Answer a question from memories, yielding sources, pieces of text, and the whole text.

        The sources come before the language model is called. The last event has the whole text, and the names and
        numbers in it that stand in no source. Leaving the iterator early frees the model's slot within one token.
        Arguments and errors are those of `ask`.
        """
        task = await self._prepare(question, top_k, **options)
        async with aclosing(self._events(task)) as events:
            async for event in events:
                yield event

    async def _astream_answer(
        self, question: str, top_k: int = 5, **options: Unpack[LocalAskOptions]
    ) -> AsyncGenerator[str, None]:
        """Answer a question from memories, yielding pieces of the text as the model generates them.

        The joined pieces are the answer. `ask_events` yields its sources and its check, too. Leaving the iterator early
        frees the model's slot within one token. Arguments and errors are those of `ask`.
        """
        task = await self._prepare(question, top_k, **options)
        async with aclosing(self._pieces(task)) as stream:
            async for piece in stream:
                yield piece

    async def _prepare(
        self,
        question: str,
        top_k: int,
        *,
        where: Where | None = None,
        instructions: str | None = None,
        history: Sequence[ChatMessage | Mapping[str, str]] | None = None,
        llm: bool = True,
        min_similarity: float | None = None,
        sources: Sequence[Match] | None = None,
    ) -> AnswerTask:
        checked_text(question, "question", max_bytes=LIMITS.text_bytes)
        checked_instructions(instructions)
        messages = checked_history(history)
        if sources is None:
            sources = await self._asearch_text(
                search_query(question, messages), top_k, where=where, min_similarity=min_similarity
            )
        parts = PromptParts(question=question, sources=list(sources), instructions=instructions, history=messages)
        return AnswerTask(parts, self.llm_generator if llm and sources else None)

    async def _messages(self, task: AnswerTask, budget: float) -> list[ChatMessage]:
        assert task.llm is not None
        context = task.llm.context_tokens
        max_tokens = None if context is None else int(budget * (context - self._answer_tokens))
        build = partial(task.parts.messages, context_chars=self._context_chars, max_tokens=max_tokens)
        if len(task.parts.sources) <= _FEW_SOURCES:
            return build()
        return await in_thread(build, name="build a prompt")  # a thousand take 60 ms until those that fit are found

    async def _events(
        self, task: AnswerTask, *, before_end: Callable[[Answer], Awaitable[None]] | None = None
    ) -> AsyncGenerator[AnswerEvent, None]:
        # `before_end` gets the whole answer before its last event goes out.
        yield AnswerEvent(sources=list(task.parts.sources))
        pieces: list[str] = []
        async with aclosing(self._pieces(task)) as stream:
            async for piece in stream:
                pieces.append(piece)
                yield AnswerEvent(text=piece)
        answer = await task.answer("".join(pieces))
        if before_end is not None:
            await before_end(answer)
        quoted = answer.quoted if task.may_quote else None
        yield AnswerEvent(done=answer.text, grounded=answer.grounded, unsupported=answer.unsupported, quoted=quoted)

    async def _pieces(self, task: AnswerTask) -> AsyncGenerator[str, None]:
        if task.llm is None:
            yield task.fixed_text()
            return
        for budget in _BUDGETS:
            stream = task.llm.astream_chat(await self._messages(task, budget), self._answer_tokens)
            try:
                async with aclosing(without_repetition(stream)) as pieces:
                    async for piece in pieces:
                        yield piece
            except InvalidInputError as exc:  # raised before the first piece
                if exc.field != "prompt":
                    raise
                if budget == _BUDGETS[-1]:
                    raise InvalidInputError(
                        f"{task.field} is too long for the model: {exc.message}", field=task.field, hint=exc.hint
                    ) from exc
            except ModelNotFoundError as exc:
                if task.llm.loaded or not task.may_quote:  # loaded: its server knows no such model
                    raise
                _log.warning("agents.no_language_model", extra={"reason": str(exc)})
                task.llm = None
                yield task.fixed_text()
                return
            else:
                return

    ask = blocking(_aask)
    ask_events = blocking_iterator(_aask_events)
    stream_answer = blocking_iterator(_astream_answer)


@dataclass(slots=True)
class AnswerTask:
    """Hold the parts of an answer's prompt, and the language model that writes it.

    Attributes:
        parts: the parts of the prompt.
        llm: the language model; None where the text needs none.
        may_quote: True if the answer may quote the sources where the model's file cannot be had.
        field: the name of the argument with the question, for errors.
    """

    parts: PromptParts
    llm: LLMGenerator | None
    may_quote: bool = True
    field: str = "question"

    def fixed_text(self) -> str:
        """Return the text where no language model writes it: quotes, or that nothing is known."""
        return quoted_answer(self.parts.sources) if self.parts.sources else NOTHING_KNOWN

    async def answer(self, text: str) -> Answer:
        """Return the answer with its sources and its check, given the whole text."""
        sources = list(self.parts.sources)
        if self.llm is None:
            return Answer(text=text, sources=sources, quoted=bool(sources))
        return await checked_answer(text, sources, self.parts.question, also=self.parts.caller_texts)


async def checked_answer(text: str, sources: list[Match], question: str, *, also: Sequence[str] = ()) -> Answer:
    """Return an answer with the names and numbers in its text that stand in no source.

    Args:
        text: the language model's text.
        sources: the memories that it was made from.
        question: the question.
        also: further texts that count as sources, such as what the user said before.
    """
    text = text.strip()
    texts = [*(source.text for source in sources), *also]
    unsupported: list[str] = []
    if sources:  # in a thread: 200,000 characters of sources take seconds
        unsupported = await in_thread(lambda: unsupported_terms(text, texts, question=question), name="check an answer")
    return Answer(text=text, sources=sources, grounded=not unsupported, unsupported=unsupported)
