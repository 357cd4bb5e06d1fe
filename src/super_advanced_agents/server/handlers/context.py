"""The context of a request that handlers receive: its caller, operation and target."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from super_advanced_agents._runtime.concurrency.budget import answers_limited
from super_advanced_agents._runtime.concurrency.futures import Future
from super_advanced_agents._runtime.concurrency.slices import SliceWorker, one_slice
from super_advanced_agents.jobs.jobs import Jobs
from super_advanced_agents.protocol.operations import Cost, Operation, PermitKind
from super_advanced_agents.server.limits.admission import Permit
from super_advanced_agents.server.limits.cost import item_units, request_units, work_units
from super_advanced_agents.server.limits.sending import SMALL_ANSWER_BYTES
from super_advanced_agents.stores.records.answer_sizes import AnswerNeedsReservationError
from super_advanced_agents.tenancy.context import RequestContext
from super_advanced_agents.tenancy.workspace import Workspace

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerContext:
    """Hold a request's caller, operation and target (such as an agent).

    Attributes:
        operation: the operation.
        target: the name of the agent, collection, orchestrator or schedule, or the id of the job; empty for the
            tenant's default agent, and for operations without a target.
        workspace: the agents and collections of the caller's tenant.
        request_context: the principal, its rate limits and its permit.
        request_bytes: the bytes of the body or message.
        conversions: decodes large requests off the event loop.
        jobs: the background jobs; None in a process without.
    """

    operation: Operation
    target: str
    workspace: Workspace
    request_context: RequestContext
    conversions: SliceWorker
    request_bytes: int = 0
    jobs: Jobs | None = None

    async def charge(self, request: object) -> None:
        """Charge a request's extra units, such as one per record, to the caller's rate limits.

        Args:
            request: the request, whose items, queries or tokens count as the operation defines.

        Raises:
            RateLimitedError: the allowance is used up; no work was done.
        """
        cost = self.operation.cost
        tokens = self.workspace.agent_settings(self.agent_name).answer_tokens if cost is Cost.TOKENS else 0
        await self.request_context.charge(item_units(cost, request, answer_tokens=tokens))

    async def charge_work(self, request: object) -> None:
        """Charge the units for a request's bytes, its filter's values and the matches asked for.

        Raises:
            RateLimitedError: the allowance is used up; no work was done.
        """
        await self.request_context.charge(request_units(self.request_bytes) + work_units(request))

    def off_loop(self, work: Callable[[], T]) -> Future[T]:
        """Call a function off the event loop, alternating with the conversions of other tenants."""
        return self.conversions.submit(one_slice(work), owner=self.request_context.principal.tenant)

    async def read(self, work: Callable[[], Awaitable[T]]) -> T:
        """Return the result of a read; a long one is read again after its bytes were reserved.

        Most answers are short, and the size of an answer is known only while it is read.

        Args:
            work: reads, and changes nothing.

        Raises:
            OverloadedError: the bytes of a long answer did not come free in time.
        """
        reservation = self.request_context.reservation
        if reservation is None:
            return await work()
        try:
            with answers_limited(SMALL_ANSWER_BYTES):
                return await work()
        except AnswerNeedsReservationError:
            pass
        await reservation.acquire()  # outside of the `except`, whose error would keep the frames of the first reading
        return await work()

    @property
    def agent_name(self) -> str:
        """The name of the request's agent; the tenant's default agent if the request names none."""
        return self.target or self.workspace.default_agent.name

    async def work_as(self, kind: PermitKind) -> None:
        """Exchange the call's permit for one of another kind, for the rest of the call.

        Args:
            kind: the kind of the work that follows.

        Raises:
            OverloadedError: no permit is free.
        """
        permit = self.request_context.permit
        if isinstance(permit, Permit):
            await permit.exchange(kind)


Handler: TypeAlias = Callable[[Any, HandlerContext], Awaitable[Any]]
"""A function that takes a request and returns the operation's result, or raises an error."""
