"""What a handler knows of the call it answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sized
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from super_advanced_agents.protocol.operations import Cost, Operation, PermitKind
from super_advanced_agents.server.limits.admission import Admission
from super_advanced_agents.tenancy.context import RequestContext
from super_advanced_agents.tenancy.workspace import Workspace

_BROUGHT = ("vectors", "records", "memories", "turns")
"""The members of requests that hold what is stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerContext:
    """Who calls, and what the call is about.

    Attributes:
        operation: from the table.
        target: the agent, collection or orchestrator; empty for the tenant's default agent, or where there is none.
        workspace: what the caller's tenant has.
        call: the principal, and what counts the costs.
        admission: permits, for work beyond that of the operation.
    """

    operation: Operation
    target: str
    workspace: Workspace
    request_context: RequestContext
    admission: Admission

    async def charge(self, request: object) -> None:
        """Take what the operation's row says that a request costs beyond one unit.

        Raises:
            RateLimitedError: the allowance is used up; nothing was done yet.
        """
        await self.request_context.charge(self._cost(request))

    def _cost(self, request: Any) -> int:
        match self.operation.cost:
            case Cost.RECORDS:
                return next(len(cast("Sized", getattr(request, name))) for name in _BROUGHT if hasattr(request, name))
            case Cost.QUERIES:
                return len(request.query_vectors) - 1
            case Cost.TEXT:
                return 0 if request.text is None else 1
            case Cost.TOKENS:
                tokens: int | None = request.answer_tokens
                return tokens or self.workspace.agent_settings(self.agent_name).answer_tokens
            case _:
                return 0

    @property
    def agent_name(self) -> str:
        """The name of the agent that is asked."""
        return self.target or self.workspace.default_agent.name

    @asynccontextmanager
    async def permit(self, kind: PermitKind) -> AsyncIterator[None]:
        """Hold a further permit, for work of another kind than the operation's own.

        Raises:
            OverloadedError: none is free.
        """
        if kind is self.operation.permit:
            yield
            return
        async with self.admission.enter(kind):
            yield


Handler: TypeAlias = Callable[[Any, HandlerContext], Awaitable[Any]]
"""Answers one request with the operation's result; what it raises is told as the error's status."""
