"""`Worker`: takes jobs from queues, runs them in this event loop, and reports their ends."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import orjson

from super_advanced_agents._runtime.uids import new_uids
from super_advanced_agents.config import DEFAULT_TENANT
from super_advanced_agents.errors import (
    ConfigurationError,
    InvalidInputError,
    PermissionDeniedError,
    RateLimitedError,
    ResourceClosedError,
    SuperAdvancedAgentsError,
)
from super_advanced_agents.jobs.backend import SWEEP_JOBS, ClaimedJob, JobBackend, JobLimits, Outcome
from super_advanced_agents.jobs.context import JobContext, JobRecords, LostJobError, encoded
from super_advanced_agents.jobs.erasing import aerase_forgotten
from super_advanced_agents.jobs.job_files import JobFiles
from super_advanced_agents.jobs.kinds import JobKinds
from super_advanced_agents.jobs.parts import JobParts
from super_advanced_agents.jobs.scheduler import Scheduler
from super_advanced_agents.telemetry import get_logger, histogram, tracing
from super_advanced_agents.tenancy.context import Access, Principal, RequestContext, SupportsCharge, active_context
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.types import JobState

_log = get_logger("jobs")
_BEAT_S, _SWEEP_S, _IDLE_S = 0.5, 600.0, 1.0
_FILES_S = 60.0
_FULL_S = 1.0
_FIRST_RETRY_S, _LONGEST_RETRY_S = 1.0, 300.0
_CANCELLED_S = 5.0
"""The seconds that jobs have to end when they are cancelled because the worker stops."""

_ERASURE_S, _LAST_ERASURE_S = 30.0, 10.0
_HANDED_BACK = "handed_back"
_ENDS = {JobState.QUEUED: "retried"}
_HOPELESS = (InvalidInputError, ConfigurationError, PermissionDeniedError)
"""Errors that the next attempt would only repeat."""

DEFAULT_QUEUES = {"default": 8, "bulk": 1}
"""The queues of a worker, each with the number of jobs that run at once."""


class _UsedUpError(RateLimitedError):
    """An internal error: the tenant's allowance is used up, so the job waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """Hold the options of a worker.

    Attributes:
        queues: the queues, and how many jobs of each run at once.
        limits: the limits of one tenant.
        lease_s: the seconds without a heartbeat after which the jobs of a worker are given to others.
        succeeded_s: the seconds for which jobs are kept that succeeded or were cancelled.
        failed_s: the seconds for which failed jobs are kept.
    """

    queues: Mapping[str, int]
    limits: JobLimits = field(default_factory=JobLimits)
    lease_s: float = 10.0
    succeeded_s: float = 7 * 86_400.0
    failed_s: float = 30 * 86_400.0


class Worker:
    """Take jobs from queues and run each in this event loop, until stopped.

    Several workers may use one backend. A worker that loses its lease, as when its machine was suspended, stops its
    jobs, since others have taken them, and goes on under another name.

    Args:
        backend: stores the jobs.
        kinds: the kinds of jobs that it carries out; others wait for a worker that knows them.
        options: the queues, limits and times.
        runtime: the store and models that jobs use; None where no job needs them.
        limiter: charges what jobs ask of the language model to their tenants; None for no rate limits.
    """

    def __init__(
        self,
        backend: JobBackend,
        kinds: JobKinds,
        options: WorkerOptions,
        *,
        runtime: Runtime | None = None,
        limiter: SupportsCharge | None = None,
    ) -> None:
        self._backend = backend
        self._kinds = kinds
        self._options = options
        self._runtime = runtime
        self._limiter = limiter
        self._id = new_uids(1)[0]
        self._running: dict[tuple[str, int], tuple[ClaimedJob, asyncio.Task[Any]]] = {}
        self._cancelled: set[tuple[str, int]] = set()
        self._changed_at: dict[str, float] = {}  # when a job of a queue began or ended here
        self._scheduler = Scheduler(backend, kinds, options.limits)
        self._files = None if runtime is None else JobFiles.of(runtime.settings)
        self._sweeping: asyncio.Task[None] | None = None
        self._beat_at = self._sweep_at = float("-inf")
        self._healthy_at = time.monotonic()
        for kind in kinds:  # shown from the start, so that the first failure is an increase
            histogram("job_seconds", kind=kind, outcome=str(JobState.FAILED))

    @property
    def running(self) -> int:
        """The number of jobs that run now."""
        return len(self._running)

    @property
    def healthy(self) -> bool:
        """True while the heartbeats reach the database of jobs."""
        return time.monotonic() - self._healthy_at < self._options.lease_s

    async def arun(self, stop: asyncio.Event, *, drain_s: float = 10.0) -> None:
        """Run jobs until `stop` is set, then drain: finish what ends soon, hand the rest back.

        Args:
            stop: set to stop.
            drain_s: the seconds that running jobs have to finish.
        """
        stopping = asyncio.create_task(stop.wait(), name="worker stops")
        erasing = asyncio.create_task(self._keep_erasing(stopping), name="erase answers")
        seen = 0
        try:
            while not stop.is_set():
                try:
                    await self._look_for_work()
                    seen = await self._wait(seen, stopping)
                except ResourceClosedError:
                    return
                except Exception as exc:  # the database is away, or one schedule is wrong: what runs goes on
                    known = isinstance(exc, SuperAdvancedAgentsError)
                    _log.warning("jobs.database_failed", extra={"reason": str(exc)}, exc_info=None if known else exc)
                    await asyncio.wait({stopping}, timeout=_IDLE_S)
        finally:
            stopping.cancel()
            await self._drain(drain_s)
            await asyncio.wait({erasing}, timeout=_LAST_ERASURE_S)
            erasing.cancel()
            await asyncio.gather(erasing, return_exceptions=True)

    async def _keep_erasing(self, stopping: asyncio.Task[Literal[True]]) -> None:
        # Erases once more at the end, so that a stopped server has no forgotten text in a file.
        while self._runtime is not None:
            last = stopping.done()
            try:
                await aerase_forgotten(self._backend, self._runtime)
            except ResourceClosedError:
                return
            except SuperAdvancedAgentsError as exc:  # the store or the database is away
                _log.warning("jobs.answers_not_erased", extra={"reason": str(exc)})
            if last:
                return
            await asyncio.wait({stopping}, timeout=_ERASURE_S)

    async def _look_for_work(self) -> None:
        now = time.monotonic()
        if now - self._beat_at >= _BEAT_S:
            await self._beat()
            await self._backend.arecover(self._options.lease_s)
            await self._scheduler.afire()
        if now >= self._sweep_at and (self._sweeping is None or self._sweeping.done()):
            self._sweep_at = now + _SWEEP_S
            self._sweeping = asyncio.create_task(self._sweep(), name="job sweep")
        if free := self._free():
            await self._claim(free, self._options.limits)
        if spare := self._spare():  # for tenants that have no job running at all
            await self._claim(spare, replace(self._options.limits, running=1))

    async def _claim(self, room: dict[str, int], limits: JobLimits) -> None:
        for job in await self._backend.aclaim(self._id, room, list(self._kinds), limits):
            place = (job.id, job.claim)
            if place not in self._running:  # claimed twice if a crash of the database undid the claim
                task = asyncio.create_task(self._run(job), name=f"job {job.kind}")
                self._running[place] = (job, task)
                self._changed_at[job.queue] = time.monotonic()

    async def _wait(self, seen: int, stopping: asyncio.Task[Literal[True]]) -> int:
        waiting = asyncio.create_task(self._backend.await_work(seen, _IDLE_S), name="worker waits")
        try:
            either: set[asyncio.Task[Any]] = {waiting, stopping}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            return waiting.result() if waiting.done() else seen
        finally:
            waiting.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.wait({waiting})

    async def _sweep(self) -> None:
        # In a task of its own, since an unreachable network folder must not delay heartbeats.
        try:
            if self._files is not None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_FILES_S):
                        await self._files.adelete_unneeded(self._backend, failed_s=self._options.failed_s)
            n = await self._backend.asweep(succeeded_s=self._options.succeeded_s, failed_s=self._options.failed_s)
            if n >= SWEEP_JOBS:
                self._sweep_at = time.monotonic() + _IDLE_S
        except SuperAdvancedAgentsError as exc:
            self._sweep_at = time.monotonic() + _IDLE_S
            _log.warning("jobs.not_swept", extra={"reason": str(exc)})

    def _used(self) -> Counter[str]:
        return Counter(job.queue for job, _ in self._running.values())

    def _free(self) -> dict[str, int]:
        used = self._used()
        left = {queue: n - used[queue] for queue, n in self._options.queues.items()}
        return {queue: n for queue, n in left.items() if n > 0}

    def _spare(self) -> dict[str, int]:
        # A full queue in which no job ends has room for a quarter more, of other tenants.
        used = self._used()
        before = time.monotonic() - _FULL_S
        full = [queue for queue, n in self._options.queues.items() if used[queue] >= n > 0]
        left = {
            queue: (-(-5 * self._options.queues[queue] // 4)) - used[queue]
            for queue in full
            if self._changed_at.get(queue, before) <= before
        }
        return {queue: n for queue, n in left.items() if n > 0}

    async def _beat(self) -> None:
        mine = [job for job, _ in self._running.values() if job.worker == self._id]
        cancelling = await self._backend.aheartbeat(
            self._id, list(self._kinds), list(self._options.queues), held={job.id for job in mine}
        )
        if cancelling is None:
            _log.warning("jobs.lease_lost", extra={"jobs": len(mine)})
            for _, task in self._running.values():
                task.cancel()
            self._id = new_uids(1)[0]
            await self._backend.aheartbeat(self._id, list(self._kinds), list(self._options.queues))
            return
        for place in [(job.id, job.claim) for job in mine if job.id in cancelling]:
            if place not in self._cancelled:
                self._cancelled.add(place)
                self._running[place][1].cancel()
        self._beat_at = self._healthy_at = time.monotonic()

    async def _drain(self, drain_s: float) -> None:
        # Heartbeats go on meanwhile: once the lease ran out, other workers would run the same jobs.
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)
        tasks = {task for _, task in self._running.values()}
        until = time.monotonic() + drain_s
        while (pending := {task for task in tasks if not task.done()}) and time.monotonic() < until:
            await asyncio.wait(pending, timeout=min(_BEAT_S, max(0.0, until - time.monotonic())))
            with suppress(SuperAdvancedAgentsError):
                await self._beat()
        for task in tasks:
            task.cancel()
        ending = asyncio.gather(*tasks, return_exceptions=True)
        if (await asyncio.wait({ending}, timeout=_CANCELLED_S))[1]:
            _log.error("jobs.not_stopped", extra={"jobs": len(self._running)})
        with suppress(SuperAdvancedAgentsError):
            await self._backend.aleave(self._id)

    async def _run(self, job: ClaimedJob) -> None:
        began, span, ended = time.perf_counter(), tracing.begin_span(f"job {job.kind}", cause=job.trace), _HANDED_BACK
        try:
            try:
                outcome = await self._outcome(job)
            except asyncio.CancelledError:
                if (job.id, job.claim) not in self._cancelled:
                    return  # the lease was lost, or the worker stops: the job is given to another
                outcome = Outcome(state=JobState.CANCELLED)
            except LostJobError:
                return
            ended = _ENDS.get(outcome.state, outcome.state.value)
            with suppress(ResourceClosedError):
                await JobRecords(self._backend, job).afinish(outcome)
            if outcome.state is JobState.CANCELLED:
                self._sweep_at = float("-inf")  # its files go now
        finally:
            histogram("job_seconds", kind=job.kind, outcome=ended).observe(time.perf_counter() - began)
            if span is not None:
                span.end(failed=ended == JobState.FAILED)
            self._running.pop((job.id, job.claim), None)
            self._changed_at[job.queue] = time.monotonic()
            self._cancelled.discard((job.id, job.claim))

    async def _run_part(self, job: ClaimedJob) -> None:
        # Runs in the task of its job. If the job ends first, other workers take the part.
        task = asyncio.current_task()
        assert task is not None
        self._running[job.id, job.claim] = (job, task)
        await self._run(job)
        with suppress(SuperAdvancedAgentsError):
            await self._backend.afinish(job, Outcome(state=JobState.QUEUED, counts=False))

    async def _outcome(self, job: ClaimedJob) -> Outcome:
        kind = self._kinds[job.kind]
        timeout = asyncio.timeout(kind.timeout_s)
        allowance = None if self._limiter is None else _Allowance(self._limiter)
        try:
            known = {access for access in Access if access in job.scopes}  # a newer version may have others
            principal = Principal(tenant=job.tenant or DEFAULT_TENANT, scopes=frozenset(known), key_id="jobs")
            parts = JobParts(self._backend, job, self._run_part)
            context = JobContext(job, principal, JobRecords(self._backend, job), runtime=self._runtime, parts=parts)
            async with timeout:
                kind.check_submitter(principal)  # the job may have been submitted before this check existed
                with active_context(RequestContext(principal=principal, limiter=allowance)):
                    arguments = kind.parsed(orjson.loads(job.arguments))
                    positional = (context,) if kind.takes_context else ()
                    result = await kind.run(*positional, **arguments)
            return Outcome(state=JobState.SUCCEEDED, result=encoded(result, "the result of the job"))
        except (LostJobError, GeneratorExit):
            raise
        except _UsedUpError as exc:  # it waits until its tenant has units again
            return Outcome(state=JobState.QUEUED, error=_reason(exc), delay_s=exc.retry_after_s, counts=False)
        except TimeoutError as exc:
            if timeout.expired():
                return self._failure(job, f"took longer than {kind.timeout_s:g} s", hopeless=False)
            return self._failure(job, _reason(exc), hopeless=False)
        except BaseException as exc:  # `sys.exit` of a job, too, must not end the process of all others
            if isinstance(exc, asyncio.CancelledError) and _is_cancelled():
                raise
            expected = isinstance(exc, SuperAdvancedAgentsError)
            _log.warning(
                "jobs.attempt_failed",
                extra={"kind": job.kind, "job": job.id, "attempt": job.attempt},
                exc_info=None if expected else exc,
            )
            return self._failure(job, _reason(exc), hopeless=isinstance(exc, _HOPELESS))

    @staticmethod
    def _failure(job: ClaimedJob, reason: str, *, hopeless: bool) -> Outcome:
        if hopeless or job.attempt >= job.max_attempts:
            return Outcome(state=JobState.FAILED, error=reason)
        delay_s = min(_LONGEST_RETRY_S, _FIRST_RETRY_S * 2 ** (job.attempt - 1)) * random.uniform(0.5, 1.0)  # noqa: S311
        return Outcome(state=JobState.QUEUED, error=reason, delay_s=delay_s)


def _is_cancelled() -> bool:
    # False where the job raised the error itself, as when it awaits a task that it has cancelled.
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _reason(exc: BaseException) -> str:
    # Other errors may carry texts and paths, and the job's tenant may read the reason.
    if isinstance(exc, SuperAdvancedAgentsError):
        return f"{type(exc).__name__}: {exc.message}"[:1024]
    return f"{type(exc).__name__}; the log of the worker has the details"


@dataclass(frozen=True, slots=True)
class _Allowance:
    # Tells refusals of this process from those of a model server.

    limiter: SupportsCharge

    async def charge(self, principal: Principal, cost: int) -> object:
        try:
            return await self.limiter.charge(principal, cost)
        except RateLimitedError as exc:
            raise _UsedUpError(exc.message, retry_after_s=exc.retry_after_s, hint=exc.hint) from exc

    async def settle(self, principal: Principal, cost: int) -> None:
        await self.limiter.settle(principal, cost)
