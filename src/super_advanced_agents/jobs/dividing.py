"""`run_parts`: runs the parts of a job on all workers, and collects their results."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence

from super_advanced_agents.errors import JobError, SuperAdvancedAgentsError
from super_advanced_agents.jobs.context import JobContext
from super_advanced_agents.jobs.kinds import JobKind
from super_advanced_agents.jobs.parts import JobParts
from super_advanced_agents.telemetry import get_logger
from super_advanced_agents.types import JobInfo, JobState, JSONValue

_log = get_logger("jobs")
_WAITING = 4
"""The parts of a job that wait at a time: other jobs of the tenant stand behind them."""

_MOST_FAILED = 8
"""The failed parts after which no further ones are submitted."""

_POLL_S = 0.25


async def run_parts(
    context: JobContext, kind: JobKind, arguments: Sequence[Mapping[str, JSONValue]], units: Sequence[int], *, note: str
) -> list[JSONValue]:
    """Run one part of a job for each of the arguments, and return their results in order.

    Any worker takes parts. The job's own worker takes some, too, so that the job never waits for a place. The result
    of a part is a step of the job. A failed part does not stop the others, and can be retried alone. When the job is
    cancelled, its parts are; when its worker is killed, they go on.

    Args:
        context: the job.
        kind: the kind of the parts.
        arguments: the arguments of each part.
        units: the units of work of each part, for the progress of the job.
        note: what is being done, for the progress of the job.

    Raises:
        JobError: parts failed. Retrying the job runs these again, and no others.
    """
    parts = _Parts(context, kind, arguments, units)
    own: asyncio.Task[bool] | None = None
    try:
        while not await parts.look():
            await context.progress(parts.done, sum(units), note)
            if own is None or own.done():
                own = asyncio.create_task(_run_one(context.parts), name="own part of a job")
            await asyncio.wait({own}, timeout=_POLL_S)
            if own.done() and not own.result():
                await asyncio.sleep(_POLL_S)
    finally:
        if own is not None:
            if not own.cancelling():  # a second time would interrupt its report
                own.cancel()
            await asyncio.gather(own, return_exceptions=True)
    parts.raise_if_failed()
    return parts.results()


async def _run_one(parts: JobParts) -> bool:
    try:
        return await parts.arun_one()
    except SuperAdvancedAgentsError as exc:  # the database is away
        if not exc.retryable:
            raise
        return False


class _Parts:
    # The parts of one job: those not submitted yet, those that have not ended, and the results of the others.

    def __init__(
        self, context: JobContext, kind: JobKind, arguments: Sequence[Mapping[str, JSONValue]], units: Sequence[int]
    ) -> None:
        self._context = context
        self._kind = kind
        self._arguments = arguments
        self._units = units
        self._left = deque(range(len(arguments)))
        self._open: dict[int, JobInfo] = {}
        self._results: dict[int, JSONValue] = {}

    @property
    def done(self) -> float:
        """The units of work that all parts have done."""
        running = sum(info.done or 0 for info in self._open.values() if info.state is JobState.RUNNING)
        return running + sum(self._units[number] for number in self._results)

    def results(self) -> list[JSONValue]:
        """Return the results in the order of the parts."""
        return [self._results[number] for number in range(len(self._arguments))]

    async def look(self) -> bool:
        """Look at the parts and submit further ones; return True when nothing more will change."""
        try:
            for number in list(self._open):
                await self._see(number, await self._context.parts.aget(number))
            await self._submit()
        except SuperAdvancedAgentsError as exc:  # the database is away: what runs goes on
            if not exc.retryable:
                raise
            _log.warning("jobs.parts_not_seen", extra={"job": self._context.job_id, "reason": str(exc)})
            return False
        failed = self._failed()
        return len(failed) == len(self._open) and (not self._left or len(failed) >= _MOST_FAILED)

    def raise_if_failed(self) -> None:
        """Raise an error that names the first failed part, if any failed."""
        failed = self._failed()
        if failed:
            raise JobError(
                f"{len(failed)} of {len(self._arguments)} parts {failed[0].state}; the job {failed[0].id}: "
                f"{failed[0].error or 'by its owner'}",
                hint="`retry` runs these parts again, and no others",
            )

    def _failed(self) -> list[JobInfo]:
        return [info for info in self._open.values() if info.state.final]

    async def _see(self, number: int, info: JobInfo | None) -> None:
        if info is None:
            self._open.pop(number, None)
            self._left.appendleft(number)
        elif info.state is JobState.SUCCEEDED:
            self._open.pop(number, None)
            self._results[number] = await self._context.step(_step(number), _returned, info.result)
        else:
            self._open[number] = info

    async def _submit(self) -> None:
        while self._left and self._has_room():
            number = self._left[0]
            if self._context.has_finished(_step(number)):
                self._results[number] = await self._context.step(_step(number), _returned, None)
            else:
                info = await self._context.parts.asubmit(
                    number,
                    self._arguments[number],
                    kind=self._kind.name,
                    queue=self._kind.queue,
                    max_attempts=self._kind.max_attempts,
                )
                if info is None:
                    return  # the worker is about to end the job
                if info.state in (JobState.FAILED, JobState.CANCELLED) and self._context.attempt == 1:
                    await self._context.parts.aretry(number)
                    info = await self._context.parts.aget(number)
                await self._see(number, info)
            self._left.popleft()

    def _has_room(self) -> bool:
        waiting = sum(info.state is JobState.QUEUED for info in self._open.values())
        return waiting < _WAITING and len(self._failed()) < _MOST_FAILED


def _step(number: int) -> str:
    return f"part-{number:05}"


async def _returned(value: JSONValue) -> JSONValue:
    return value
