"""What stands behind `/v1/chat/completions`: a chat with the language model, or with an agent and its memories."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from super_advanced_agents._runtime.uids import new_uids
from super_advanced_agents.agents import AsyncLLMAgent
from super_advanced_agents.agents.prompt import answer_messages
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.generation import GenerationOptions, LLMGenerator, Usage
from super_advanced_agents.tenancy.settings import Settings
from super_advanced_agents.types import ChatMessage, Match

_MEMORIES = 5
_BYTES_PER_TOKEN = 4
"""About right for English; only for what a server does not count."""


@dataclass(slots=True, kw_only=True)
class Completion:
    """One answer, while it is written.

    Attributes:
        llm: writes it.
        messages: the chat, as the model sees it; empty where there is nothing to ask a model.
        options: how.
        model: the name that was asked for.
        sources: the memories that the model is shown; None without an agent.
        reply: what is said without asking a model.
        id: its name.
        created: seconds since the epoch.
    """

    llm: LLMGenerator
    messages: list[ChatMessage]
    options: GenerationOptions
    model: str
    sources: list[Match] | None = None
    reply: str = ""
    id: str = field(default_factory=lambda: f"chatcmpl-{new_uids(1)[0]}")
    created: int = field(default_factory=lambda: int(time.time()))
    _usage: Usage | None = None
    _pieces: int = 0

    async def pieces(self) -> AsyncGenerator[str, None]:
        """The text, piece by piece; leaving early frees the model's slot."""
        if not self.messages:
            yield self.reply
            return
        options = self.options
        writing = self.llm.astream_chat(
            self.messages,
            options.max_length,
            stop=options.stop,
            temperature=options.temperature,
            seed=options.seed,
            on_end=self._end,
        )
        try:
            async with aclosing(writing) as pieces:
                async for piece in pieces:
                    self._pieces += 1
                    yield piece
        except InvalidInputError as exc:
            if exc.field != "prompt":
                raise
            raise InvalidInputError(exc.message, field="messages", hint=exc.hint) from exc

    @property
    def finish_reason(self) -> Literal["stop", "length"]:
        """Why the text ended."""
        return "length" if self._usage is not None and self._usage.cut else "stop"

    def tokens(self) -> tuple[int, int]:
        """Tokens read and written; read ones are estimated where the model's server does not tell."""
        read = None if self._usage is None else self._usage.prompt_tokens
        if read is None:
            read = sum(map(estimated_tokens, (message.content for message in self.messages)))
        return read, self._pieces if self._usage is None else self._usage.new_tokens

    def _end(self, usage: Usage) -> None:
        self._usage = usage


async def grounded(
    agent: AsyncLLMAgent,
    llm: LLMGenerator,
    chat: Sequence[ChatMessage],
    options: GenerationOptions,
    *,
    context_chars: int,
) -> Completion:
    """An answer from an agent's memories to the last user message, in a chat.

    The memories, of `context_chars` characters at most, stand beside that message as a block of data, as for `ask`;
    with nothing remembered no model is asked.

    Raises:
        InvalidInputError: the last message is not the user's, or cannot be searched for.
    """
    *before, question = chat
    if question.role != "user":
        raise InvalidInputError(
            f"messages[{len(before)}].role must be 'user': an agent answers the last message",
            field=f"messages[{len(before)}].role",
        )
    try:
        sources = await agent.asearch_text(question.content, _MEMORIES)
    except InvalidInputError as exc:
        if exc.field != "query_text":
            raise
        where = f"messages[{len(before)}].content"
        raise InvalidInputError(exc.message.replace(exc.field, where, 1), field=where, hint=exc.hint) from exc
    if not sources:
        reply = "".join([piece async for piece in agent.astream_answer(question.content, sources=[])])
        return Completion(llm=llm, messages=[], options=options, model=agent.name, sources=[], reply=reply)
    rules, asked = answer_messages(question.content, sources, context_chars=context_chars)
    # Many models' templates take one system message, and only in front.
    wishes = [message.content for message in before if message.role == "system"]
    system = ChatMessage(role="system", content="\n\n".join([*wishes, rules.content]))
    talk = [message for message in before if message.role != "system"]
    return Completion(
        llm=llm, messages=[system, *talk, asked], options=options, model=agent.name, sources=list(sources)
    )


def language_model_names(settings: Settings) -> tuple[str, ...]:
    """What the language model may be called in a request; the first is the one to show."""
    return _names(settings.generation_model, settings.generation_base_url)


def embedding_model_names(settings: Settings) -> tuple[str, ...]:
    """What the embedding model may be called in a request; the first is the one to show."""
    return _names(settings.embedding_model, settings.embedding_base_url)


def _names(model: str, base_url: str | None) -> tuple[str, ...]:
    """A server's name for a model, and its last part; of a file or a folder only that part: paths are nobody's."""
    last = Path(model).name
    if base_url is not None:
        return model, last
    return (last.removesuffix(".gguf"),)


def estimated_tokens(text: str) -> int:
    """About how many tokens a text has, where nothing here knows its tokenizer."""
    return -(-len(text.encode()) // _BYTES_PER_TOKEN)
