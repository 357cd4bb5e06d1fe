"""Conversations with an agent, from the history of a session and from memories."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from super_advanced_agents._runtime.concurrency.sync_bridge import blocking, blocking_iterator
from super_advanced_agents.agents.answers import Answering, AnswerTask
from super_advanced_agents.agents.prompt import (
    CHAT_RULES,
    PromptParts,
    checked_instructions,
    history_that_fits,
    search_query,
)
from super_advanced_agents.config import LIMITS, checked_text
from super_advanced_agents.errors import ConfigurationError, InvalidInputError
from super_advanced_agents.types import Answer, AnswerEvent, ChatMessage, JSONValue, Match, Record, Turn, Where

DEFAULT_SESSION = "default"
"""The session of a chat that names none."""

USER, ASSISTANT = "user", "assistant"
"""The speakers of the turns that a chat remembers."""

_MAX_TOP_K = 100
_MAX_TURNS = 40
_PAGE = 500
_MAX_READ = 2_000
"""The turns that are read for one message, so that a session of any length costs the same."""
_HALVINGS = 32
_WINDOWS_S = (3_600.0, 86_400.0, 30 * 86_400.0, None)
"""The ages up to which turns are looked for, until there are enough.

A long session is not read from its beginning.
"""


class Chatting(Answering):
    """Provide the methods of `LLMAgent` that hold conversations."""

    if TYPE_CHECKING:

        async def _ascan(
            self, where: Where | None = None, *, after: str | None = None, limit: int = 100
        ) -> list[Record]: ...

        async def _acount(self, where: Where | None = None) -> int: ...

        async def _aadd_turns(
            self, turns: Sequence[Turn | Mapping[str, JSONValue]], *, session: str | None = None
        ) -> list[str]: ...

    async def _achat(
        self,
        message: str,
        session: str = DEFAULT_SESSION,
        remember: bool = True,
        instructions: str | None = None,
        where: Where | None = None,
        *,
        top_k: int = 5,
    ) -> Answer:
        """Answer a message from the conversation and from memories, and remember both turns.

        The prompt holds the instructions, the latest turns of the session, the memories that match the message best
        (without these turns), and the message, within the model's context. The turns of the user and of the assistant
        are stored in one step after the whole answer, and are durable when the call returns. A call that fails or is
        cancelled before that remembers nothing.

        Args:
            message: the user's message, less than 64 KiB.
            session: the name of the conversation, 1 to 256 characters; turns that `add_turns` stored belong to it too.
            remember: False to store neither turn.
            instructions: further instructions to the model, such as a language or a tone; at most 8 KiB.
            where: restricts the search for memories to those that match this filter; the history is not restricted.
            top_k: the number of memories that the model is shown, at most 100.

        Returns:
            The model's answer, the memories that it was shown, and the names and numbers of the answer that stand in
            none of them, nor in what the user said.

        Raises:
            ConfigurationError: the agent has no language model.
            ModelNotFoundError: its file cannot be had.
            InvalidInputError: an argument is invalid, or longer than the model's context; `field` names it.
        """
        task = await self._prepare_chat(message, session, instructions, where, top_k)
        async with aclosing(self._pieces(task)) as stream:
            text = "".join([piece async for piece in stream])
        answer = await task.answer(text)
        if remember:
            await self._remember_turns(message, answer, session)
        return answer

    async def _achat_events(
        self,
        message: str,
        session: str = DEFAULT_SESSION,
        remember: bool = True,
        instructions: str | None = None,
        where: Where | None = None,
        *,
        top_k: int = 5,
    ) -> AsyncGenerator[AnswerEvent, None]:
        """Answer a message of a conversation, yielding sources, pieces of text, and the whole text.

        Both turns are durable when the last event comes. Leaving the iterator before that frees the model's slot within
        one token, and remembers nothing. Arguments and errors are those of `chat`.
        """
        task = await self._prepare_chat(message, session, instructions, where, top_k)

        async def remember_turns(answer: Answer) -> None:
            if remember:
                await self._remember_turns(message, answer, session)

        async with aclosing(self._events(task, before_end=remember_turns)) as events:
            async for event in events:
                yield event

    async def _prepare_chat(
        self, message: str, session: str, instructions: str | None, where: Where | None, top_k: int
    ) -> AnswerTask:
        checked_message(message)
        if type(top_k) is not int or not 1 <= top_k <= _MAX_TOP_K:
            raise InvalidInputError(f"top_k must be an integer from 1 to {_MAX_TOP_K}", field="top_k")
        checked_text(session, "session", max_bytes=LIMITS.uid_chars)
        checked_instructions(instructions)
        if self.llm_generator is None:
            raise ConfigurationError(
                "a chat needs a language model", hint="make the agent with one, or use search_text"
            )
        context = self.llm_generator.context_tokens
        room = None if context is None else context - self._answer_tokens
        turns = await self._latest_turns(session)
        history = history_that_fits([_as_message(turn, self.name) for turn in turns], room)
        shown = {turn.uid for turn in turns[len(turns) - len(history) :]}
        matches = await self._asearch_text(search_query(message, history), top_k + len(shown), where=where)
        sources: list[Match] = [match for match in matches if match.uid not in shown][:top_k]
        parts = PromptParts(
            question=message, sources=sources, instructions=instructions, history=history, rules=CHAT_RULES,
            question_counts=True,
        )  # fmt: skip
        return AnswerTask(parts, self.llm_generator, may_quote=False, field="message")

    async def _latest_turns(self, session: str) -> list[Record]:
        turns: list[Record] = []
        now = time.time()
        for window_s in _WINDOWS_S:
            since = 0.0 if window_s is None else now - window_s
            turns, has_more = await self._turns_since(session, since)
            if has_more:
                turns, _ = await self._turns_since(session, await self._later_time(session, since, now))
            if len(turns) >= _MAX_TURNS:
                break
        return turns

    async def _turns_since(self, session: str, since: float) -> tuple[list[Record], bool]:
        # Returns the latest turns, and whether there were more than may be read.
        turns: list[Record] = []
        after: str | None = None
        where = _turns_of(session, since)
        for _ in range(_MAX_READ // _PAGE):
            page = await self._ascan(where, after=after, limit=_PAGE)
            turns = sorted([*turns, *page], key=_said_at)[-_MAX_TURNS:]
            if not page:
                return turns, False
            after = page[-1].uid
        return turns, bool(await self._ascan(where, after=after, limit=1))

    async def _later_time(self, session: str, since: float, now: float) -> float:
        # There are more turns after `since` than may be read: bisects for a later time with enough turns after it.
        early, late = since, now
        for _ in range(_HALVINGS):
            middle = (early + late) / 2
            found = await self._acount(_turns_of(session, middle))
            if _MAX_TURNS <= found <= 4 * _MAX_TURNS:
                return middle
            early, late = (middle, late) if found > _MAX_TURNS else (early, middle)
        return early

    async def _remember_turns(self, message: str, answer: Answer, session: str) -> None:
        await self._aadd_turns(turns_of(message, answer.text), session=session)

    chat = blocking(_achat)
    chat_events = blocking_iterator(_achat_events)


def turns_of(message: str, answer: str) -> list[Turn]:
    """Return the turns of one exchange; an answer without text is none.

    An answer that is longer than a memory may be is cut.
    """
    turns = [Turn(speaker=USER, text=message)]
    encoded = answer.strip().replace("\0", "").encode()
    said = encoded[: LIMITS.text_bytes - len(f"{ASSISTANT}: ")].decode(errors="ignore")
    return [*turns, Turn(speaker=ASSISTANT, text=said)] if said else turns


def checked_message(message: str) -> str:
    """Check that a message is a text that can be remembered as a turn of the user; return it.

    Raises:
        InvalidInputError: it is not.
    """
    checked_text(message, "message", max_bytes=LIMITS.text_bytes - len(f"{USER}: "))
    return message


def _turns_of(session: str, since: float) -> dict[str, JSONValue]:
    times: dict[str, JSONValue] = {"$created_at": {"$gte": since}} if since else {}
    return {"$session": session, "$type": "turn", **times}


def _said_at(turn: Record) -> tuple[float, int, str]:
    # Turns of one write have one time: places count within it, or uids where a server does not tell places.
    return turn.created_at, turn.place or 0, turn.uid


def _as_message(turn: Record, name: str) -> ChatMessage:
    speaker = str(turn.metadata.get("speaker", USER))
    text = turn.text or ""
    if speaker in {ASSISTANT, name}:
        return ChatMessage(role=ASSISTANT, content=text.removeprefix(f"{speaker}: "))
    return ChatMessage(role=USER, content=text.removeprefix(f"{USER}: "))  # other speakers keep their names
