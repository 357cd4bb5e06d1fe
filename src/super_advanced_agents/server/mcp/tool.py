"""`MemoryTool`, the definition of an MCP tool, and `ToolSession`, its caller and its agent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel

from super_advanced_agents.jobs.jobs import Jobs
from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.protocol.operations import Operation, PermitKind
from super_advanced_agents.server.limits.admission import Admission
from super_advanced_agents.tenancy.context import Access, RequestContext, active_context
from super_advanced_agents.types import Answer, ChatMessage, Dedupe, JSONValue, Match, Where


class AgentMemory(Protocol):
    """Interface of the agent methods that the MCP tools call, in this process or on a server."""

    async def aadd_text_memory(
        self,
        text: str,
        memory_type: str = "fact",
        uid: str | None = None,
        extra: Mapping[str, JSONValue] | None = None,
        *,
        expires_in_s: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | None = None,
    ) -> str:
        """Store a text as a memory, and return the memory's uid (unique id)."""

    async def asearch_text(
        self,
        query_text: str,
        top_k: int = 5,
        memory_type: str | None = None,
        *,
        where: Where | None = None,
        min_similarity: float | None = None,
    ) -> list[Match]:
        """Return the memories that match a text best, best first."""

    async def aforget(self, uids: Sequence[str] | None = None) -> int:
        """Delete memories by uid (unique id), and return how many existed."""

    async def aask(
        self,
        question: str,
        top_k: int = 5,
        *,
        where: Where | None = None,
        instructions: str | None = None,
        history: Sequence[ChatMessage] | None = None,
        min_similarity: float | None = None,
    ) -> Answer:
        """Answer a question with the language model, from the agent's memories."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSession:
    """Hold the caller of an MCP tool, and the agent whose memory the tool uses.

    Attributes:
        agent: the agent whose memory the tools use.
        context: the caller and its rate limits.
        answer_tokens: the longest answer of the agent in tokens, which are charged to the caller.
        reranks: True if the language model re-ranks what the agent finds.
        jobs: the background jobs of the server; None elsewhere.
        admission: grants the permits that tools hold while they run; None outside of a server.
        observe: enters a context that counts and records a tool's call, by its operation; None outside of a server.
        on_begin: called when a tool begins to work; None outside of a server.
    """

    agent: AgentMemory
    context: RequestContext
    answer_tokens: int = 0
    reranks: bool = False
    admission: Admission | None = None
    jobs: Jobs | None = None
    observe: Callable[[Operation], AbstractAsyncContextManager[None]] | None = None
    on_begin: Callable[[], None] | None = None

    @asynccontextmanager
    async def working(self, tool: MemoryTool[Any]) -> AsyncIterator[None]:
        """Enter a context in which a tool runs for the caller, with the permit of its operation.

        Raises:
            OverloadedError: no permit came free.
        """
        async with AsyncExitStack() as stack:
            if self.on_begin is not None:
                self.on_begin()
            context = self.context
            if self.observe is not None:
                await stack.enter_async_context(self.observe(tool.operation))
            if self.admission is not None:
                kind = PermitKind.GENERATE if self.reranks and tool.searches else tool.operation.permit
                entering = self.admission.enter(kind, context.principal.tenant)
                context = replace(context, permit=await stack.enter_async_context(entering))
            # The MCP library may run this in a task that another request started, whose context would be wrong.
            with active_context(context):
                yield


ArgumentsT = TypeVar("ArgumentsT", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryTool(Generic[ArgumentsT]):
    """Describe one MCP tool: its names, argument and result models, and function.

    Attributes:
        name: the name by which models call it.
        title: the name that people see.
        description: its purpose and when to use it, for models.
        operation: the operation that it carries out, whose row says the scope and the permit that it needs.
        arguments_model: the pydantic model of its arguments.
        result_model: the pydantic model of its result.
        run: the function that carries it out.
        changes: True if it changes the memory.
        destroys: True if it deletes data for good.
    """

    name: str
    title: str
    description: str
    operation: Operation
    arguments_model: type[ArgumentsT]
    result_model: type[BaseModel]
    run: Callable[[ToolSession, ArgumentsT], Awaitable[BaseModel]]
    changes: bool = False
    destroys: bool = False

    @property
    def access(self) -> tuple[Access, ...]:
        """The scopes that its caller needs, all of them."""
        return self.operation.access

    def offered_to(self, session: ToolSession) -> bool:
        """Return whether the caller has the scopes, and the process what the tool works on."""
        has_all = all(map(session.context.principal.allows, self.access))
        return has_all and (self.operation is not ops.GET_JOB or session.jobs is not None)

    @property
    def searches(self) -> bool:
        """True for a search, whose results an agent may re-rank."""
        return self.operation is ops.SEARCH_MEMORIES
