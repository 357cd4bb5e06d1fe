"""Conversations of a `RemoteAgent` with an agent of a server."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from super_advanced_agents._runtime.concurrency.sync_bridge import blocking, blocking_iterator
from super_advanced_agents.agents.chatting import DEFAULT_SESSION, checked_message
from super_advanced_agents.agents.prompt import checked_instructions
from super_advanced_agents.client.agents.remote_writes import RemoteMemoryWrites, check_where
from super_advanced_agents.client.transports.base import RemoteCall
from super_advanced_agents.client.transports.connection import Connection
from super_advanced_agents.config import LIMITS, checked_text
from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.protocol.requests import ChatRequest
from super_advanced_agents.stores.validation import checked_top_k
from super_advanced_agents.types import Answer, AnswerEvent, Where


class RemoteChatting(RemoteMemoryWrites):
    """Provide the methods of `RemoteAgent` that hold conversations."""

    name: str
    _connection: Connection

    async def achat(
        self,
        message: str,
        session: str = DEFAULT_SESSION,
        remember: bool = True,
        instructions: str | None = None,
        where: Where | None = None,
        *,
        top_k: int = 5,
    ) -> Answer:
        """Have the server answer a message of a conversation, and remember both turns.

        Cancelling stops the generation at the server; nothing is remembered unless the answer was whole by then. A call
        that is repeated after a lost reply remembers one exchange.

        Args:
            message: the user's message, less than 64 KiB.
            session: the name of the conversation.
            remember: False to store neither turn; otherwise the key needs the scope `memories:write`.
            instructions: further instructions to the model; at most 8 KiB.
            where: restricts the search for memories to those that match this filter.
            top_k: the number of memories that the model is shown, at most 100.
        """
        request = self._chat_request(message, session, remember, instructions, where=where, top_k=top_k)
        return await self._connection.acall(RemoteCall(ops.AGENT_CHAT, self.name, request))

    async def achat_events(
        self,
        message: str,
        session: str = DEFAULT_SESSION,
        remember: bool = True,
        instructions: str | None = None,
        where: Where | None = None,
        *,
        top_k: int = 5,
    ) -> AsyncGenerator[AnswerEvent, None]:
        """Have the server answer a message; yield sources, pieces of text, and the whole text.

        Both turns are durable when the last event comes. Leaving the iterator early stops the generation at the server.
        Arguments are those of `chat`.
        """
        request = self._chat_request(message, session, remember, instructions, where=where, top_k=top_k)
        call = RemoteCall(ops.AGENT_CHAT_STREAM, self.name, request)
        async with aclosing(self._connection.areceive(call, AnswerEvent)) as events:
            async for event in events:
                yield event

    def _chat_request(
        self,
        message: str,
        session: str,
        remember: bool,
        instructions: str | None,
        *,
        where: Where | None,
        top_k: int,
    ) -> ChatRequest:
        self._check_open()
        check_where(where)
        return ChatRequest(
            message=checked_message(message),
            session=checked_text(session, "session", max_bytes=LIMITS.uid_chars),
            remember=remember,
            instructions=checked_instructions(instructions),
            where=where,
            top_k=checked_top_k(top_k, limits=LIMITS),
        )

    chat = blocking(achat)
    chat_events = blocking_iterator(achat_events)
