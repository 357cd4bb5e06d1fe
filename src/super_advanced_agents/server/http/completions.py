"""Chat completions from the language model or an agent's memories: `/v1/chat/completions`."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from super_advanced_agents._runtime.metering import estimated_tokens
from super_advanced_agents._runtime.uids import new_uids
from super_advanced_agents.agents import AsyncLLMAgent
from super_advanced_agents.agents.chatting import ASSISTANT, USER, checked_message, turns_of
from super_advanced_agents.agents.prompt import CHAT_RULES, RULES, PromptParts, search_query
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.generation import GenerationOptions, LLMGenerator, Usage
from super_advanced_agents.tenancy.settings import Settings
from super_advanced_agents.types import ChatMessage, Match

_TOP_K = 5
_MAX_REPEATED = 95
"""The turns in a request that may also be found as memories, and are left out of these."""


@dataclass(slots=True, kw_only=True)
class Completion:
    """Hold a chat completion's prompt and options, and generate its text.

    Attributes:
        llm: the language model that writes it.
        messages: the chat as the model sees it; empty where `reply` is the answer.
        options: the generation options.
        model: the model's name in the request.
        sources: the memories in the prompt; None without an agent.
        reply: a fixed answer that needs no model.
        remember: stores the whole text; None to store nothing.
        id: the completion's id.
        created: seconds since the epoch.
    """

    llm: LLMGenerator
    messages: list[ChatMessage]
    options: GenerationOptions
    model: str
    sources: list[Match] | None = None
    reply: str = ""
    remember: Callable[[str], Awaitable[None]] | None = None
    id: str = field(default_factory=lambda: f"chatcmpl-{new_uids(1)[0]}")
    created: int = field(default_factory=lambda: int(time.time()))
    _usage: Usage | None = None
    _piece_count: int = 0

    async def pieces(self) -> AsyncGenerator[str, None]:
        """Yield the answer's text piece by piece, and remember all of it at the end.

        Closing the generator early stops the model, and remembers nothing.
        """
        pieces: list[str] = []
        async with aclosing(self._generate()) as stream:
            async for piece in stream:
                pieces.append(piece)
                yield piece
        if self.remember is not None:
            await self.remember("".join(pieces))

    async def _generate(self) -> AsyncGenerator[str, None]:
        if not self.messages:
            yield self.reply
            return
        options = self.options
        stream = self.llm.astream_chat(
            self.messages,
            options.max_length,
            stop=options.stop,
            temperature=options.temperature,
            seed=options.seed,
            on_end=self._set_usage,
        )
        try:
            async with aclosing(stream) as pieces:
                async for piece in pieces:
                    self._piece_count += 1
                    yield piece
        except InvalidInputError as exc:
            if exc.field != "prompt":
                raise
            raise InvalidInputError(exc.message, field="messages", hint=exc.hint) from exc

    @property
    def finish_reason(self) -> Literal["stop", "length"]:
        """The reason why the text ended: `length` at the token limit, else `stop`."""
        return "length" if self._usage is not None and self._usage.cut else "stop"

    def tokens(self) -> tuple[int, int]:
        """Return the token counts of the prompt and of the generated text.

        The count of the prompt is an estimate where the model server does not report it.
        """
        prompt_tokens = None if self._usage is None else self._usage.prompt_tokens
        if prompt_tokens is None:
            prompt_tokens = sum(map(estimated_tokens, (message.content for message in self.messages)))
        return prompt_tokens, self._piece_count if self._usage is None else self._usage.new_tokens

    def _set_usage(self, usage: Usage) -> None:
        self._usage = usage


async def grounded_completion(
    agent: AsyncLLMAgent,
    llm: LLMGenerator,
    chat: Sequence[ChatMessage],
    options: GenerationOptions,
    *,
    context_chars: int,
    session: str | None = None,
) -> Completion:
    """Prepare a chat completion that answers the last message from an agent's memories.

    The memories, of `context_chars` characters at most, are put beside that message as a block of data;
    without any memory the model is not called. With a `session`, the message is one of a conversation, which the model
    answers in any case, and the message and the answer are remembered as turns of that session.

    Raises:
        InvalidInputError: the last message is not the user's, or is not a valid query.
    """
    *before, question = chat
    history = [message for message in before if message.role != "system"]
    if question.role != "user":
        raise InvalidInputError(
            f"messages[{len(before)}].role must be 'user': an agent answers the last message",
            field=f"messages[{len(before)}].role",
        )
    with _naming_message(len(before)):
        if session is None:
            sources = await agent.asearch_text(question.content, _TOP_K)
        else:
            sources = await _memories_beside(agent, checked_message(question.content), history, session)
    if not sources and session is None:
        reply = "".join([piece async for piece in agent.astream_answer(question.content, sources=[])])
        return Completion(llm=llm, messages=[], options=options, model=agent.name, sources=[], reply=reply)
    instructions = [message.content for message in before if message.role == "system"]
    parts = PromptParts(
        question=question.content,
        sources=sources,
        instructions="\n\n".join(instructions) or None,
        history=history,
        rules=RULES if session is None else CHAT_RULES,
    )
    room = None if llm.context_tokens is None else llm.context_tokens - options.max_length
    return Completion(
        llm=llm,
        messages=parts.messages(context_chars=context_chars, max_tokens=room),
        options=options,
        model=agent.name,
        sources=sources,
        remember=None if session is None else partial(_remember, agent, session, question.content),
    )


async def _memories_beside(
    agent: AsyncLLMAgent, message: str, history: Sequence[ChatMessage], session: str
) -> list[Match]:
    # The memories that match a message best, without the turns that the request holds as well.
    repeated = {f"{USER if turn.role == 'user' else ASSISTANT}: {turn.content.strip()}" for turn in history}
    matches = await agent.asearch_text(search_query(message, history), _TOP_K + min(len(repeated), _MAX_REPEATED))
    return [match for match in matches if match.session != session or match.text.strip() not in repeated][:_TOP_K]


async def _remember(agent: AsyncLLMAgent, session: str, message: str, answer: str) -> None:
    try:
        await agent.aadd_turns(turns_of(message, answer), session=session)
    except InvalidInputError as exc:
        # A repeated request: its first exchange is remembered, and now the model may have chosen other words.
        if exc.field != "write_id":
            raise


@contextmanager
def _naming_message(index: int) -> Iterator[None]:
    # The library names its argument `query_text` or `message`; clients sent a list of messages.
    try:
        yield
    except InvalidInputError as exc:
        if exc.field not in {"query_text", "message"}:
            raise
        raise exc.for_field(f"messages[{index}].content") from exc


def language_model_names(settings: Settings) -> tuple[str, ...]:
    """Return the accepted `model` names of the language model; `/v1/models` lists the first."""
    return _model_names(settings.generation_model, settings.generation_base_url)


def embedding_model_names(settings: Settings) -> tuple[str, ...]:
    """Return the accepted `model` names of the embedding model; `/v1/models` lists the first."""
    return _model_names(settings.embedding_model, settings.embedding_base_url)


def _model_names(model: str, base_urls: Sequence[str] | None) -> tuple[str, ...]:
    last_part = Path(model).name
    if base_urls is not None:
        return model, last_part
    return (last_part.removesuffix(".gguf"),)  # clients must not learn the path of a local file
