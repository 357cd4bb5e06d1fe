"""`JobContext`: the steps, the progress and the tenant's data of a running job."""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import orjson

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents.config import LIMITS
from super_advanced_agents.errors import (
    EngineUnavailableError,
    InvalidInputError,
    JobError,
    OverloadedError,
    ResourceClosedError,
    SuperAdvancedAgentsError,
)
from super_advanced_agents.jobs.backend import ClaimedJob, JobBackend, Outcome
from super_advanced_agents.jobs.job_files import copies_of
from super_advanced_agents.jobs.parts import JobParts
from super_advanced_agents.jobs.progress import Progress
from super_advanced_agents.telemetry import get_logger
from super_advanced_agents.tenancy.context import Access, Principal
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.tenancy.workspace import Workspace
from super_advanced_agents.types import JSONValue, UploadInfo

T = TypeVar("T", bound=JSONValue)
R = TypeVar("R")

MAX_STEPS, MAX_STEP_BYTES = 10_000, 16 * 1024 * 1024
"""The number of steps that one job may have, and the bytes of their results together."""

_REPORT_INTERVAL_S = 0.5
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0
_AWAY = (EngineUnavailableError, OverloadedError)
"""Errors of a database that will be back."""

_log = get_logger("jobs")


class LostJobError(JobError):
    """An internal error: the job was given to another worker, so this one stops."""


@dataclass(frozen=True, slots=True)
class JobRecords:
    """Store what a running job reports, and repeat it while the database is away.

    Args:
        backend: stores the jobs.
        job: the job.
    """

    backend: JobBackend
    job: ClaimedJob

    async def asave_step(self, name: str, result: bytes) -> None:
        """Store the result of a finished step, durable on return.

        Raises:
            LostJobError: the job was given to another worker.
        """
        if not await self._until_stored(lambda: self.backend.asave_step(self.job, name, result), *_AWAY):
            raise LostJobError("another worker has the job")

    async def atake_key(self, key: str) -> None:
        """Take a key that no other running job of the tenant has.

        Raises:
            LostJobError: another job has it, and this one was queued again; or another worker has the job.
        """
        if not await self._until_stored(lambda: self.backend.atake_key(self.job, key), *_AWAY):
            raise LostJobError("the job waits for another one, or another worker has it")

    async def asave_progress(self, progress: Progress) -> None:
        """Store the progress of the job, unless the database is away.

        Raises:
            LostJobError: the job was given to another worker.
        """
        try:
            mine = await self.backend.asave_progress(self.job, progress)
        except _AWAY:
            return  # the next report tells more
        if not mine:
            raise LostJobError("another worker has the job")

    async def afetch_upload(self, folder: Path) -> tuple[UploadInfo, Path]:
        """Return the upload of the job and a file of its bytes, made in `folder` if need be."""
        return await self.backend.afetch_upload(self.job, folder)

    async def afinish(self, outcome: Outcome) -> None:
        """Store the end of the attempt, after any error of the database, as on a full disk."""
        await self._until_stored(lambda: self.backend.afinish(self.job, outcome), SuperAdvancedAgentsError)

    async def _until_stored(
        self, store: Callable[[], Awaitable[bool]], *repeated: type[SuperAdvancedAgentsError]
    ) -> bool:
        # Repeats after some errors, so that finished work is neither repeated nor counted as a failed attempt.
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                return await store()
            except ResourceClosedError:
                raise
            except repeated as exc:
                _log.warning("jobs.not_reported", extra={"kind": self.job.kind, "reason": str(exc)})
                await asyncio.sleep(pause_s)
                pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)


class JobContext:
    """Give a running job its steps, its progress and the data of its tenant.

    Args:
        job: the job, with the results of the steps that earlier attempts finished.
        principal: the caller that submitted it: its tenant and scopes.
        records: stores steps and progress.
        runtime: the store and models of the process; None where a worker has none.
        parts: submits parts of the job, which any worker takes; None where it can have none.

    Attributes:
        job_id: the identifier of the job.
        principal: the caller that submitted it.
        attempt: the number of this attempt, from 1.
    """

    def __init__(
        self,
        job: ClaimedJob,
        principal: Principal,
        records: JobRecords,
        *,
        runtime: Runtime | None = None,
        parts: JobParts | None = None,
    ) -> None:
        self.job_id = job.id
        self.principal = principal
        self.attempt = job.attempt
        self._steps = dict(job.steps)
        self._step_bytes = sum(map(len, self._steps.values()))
        self._records = records
        self._kind = job.kind
        self._runtime = runtime
        self._parts = parts
        self._progress = Progress()
        self._reported_at = -_REPORT_INTERVAL_S

    @property
    def tenant(self) -> str:
        """The tenant to which the job belongs."""
        return self.principal.tenant

    @property
    def runtime(self) -> Runtime:
        """The store and models that all tenants of the process share."""
        if self._runtime is None:
            raise JobError("this worker has no store", hint="run the job in `saa serve` or `saa worker`")
        return self._runtime

    @property
    def parts(self) -> JobParts:
        """The parts of the job, which any worker takes."""
        if self._parts is None:
            raise JobError("this job can have no parts", hint="run it by a worker")
        return self._parts

    @property
    def workspace(self) -> Workspace:
        """The agents and collections of the job's tenant."""
        return Workspace(self.runtime, self.tenant)

    def require(self, access: Access) -> None:
        """Raise `PermissionDeniedError` unless the submitter of the job has the given scope."""
        self.principal.require(access)

    async def take_key(self, value: str) -> None:
        """Wait until no other job of this kind and tenant runs with a value.

        It is for a key that only the job itself can tell. While another one runs with it, this one is handed back and
        waits in its queue. So it is called first.

        Args:
            value: the value, such as the name of what the job changes.
        """
        await self._records.atake_key(key_of(self._kind, value))

    def uid(self, *parts: JSONValue) -> str:
        """Derive a uid from the job and any values, equal in every attempt."""
        digest = hashlib.sha256(orjson.dumps([self.job_id, *parts])).digest()
        return str(uuid.UUID(bytes=digest[:16], version=5))

    async def step(self, name: str, work: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
        """Run one step of the job, or return its result when an earlier attempt finished it.

        Its result is durable on return. A step may run twice, if its process was killed before that, so it must have
        the same effect then: writes by uids of `uid`.

        Args:
            name: the name of the step, unique within the job and the same in every attempt.
            work: the asynchronous function of the step.
            args: its arguments.
            kwargs: its arguments by name.

        Returns:
            The result, a value of JSON of up to 1 MiB; those of all steps have up to 16 MiB.

        Raises:
            InvalidInputError: the result is not such a value, or the job has too many steps.
        """
        if name in self._steps:
            found: T = orjson.loads(self._steps[name])
            return found
        if len(self._steps) >= MAX_STEPS or self._step_bytes > MAX_STEP_BYTES:
            raise InvalidInputError(
                f"a job may have {MAX_STEPS} steps, with {MAX_STEP_BYTES} bytes of results", hint="make steps larger"
            )
        result = await work(*args, **kwargs)
        data = encoded(result, f"the result of the step {name!r}")
        await self._records.asave_step(name, data)
        self._steps[name] = data
        self._step_bytes += len(data)
        return result

    async def in_thread(self, work: Callable[..., R], *args: Any, **kwargs: Any) -> R:
        """Run a blocking function in a thread for which the end of a worker does not wait.

        A process waits for the threads of `asyncio.to_thread` when it ends, however long they take. A thread of this
        kind ends with its process. Where the job is cancelled, it goes on beside.

        Args:
            work: the function.
            args: its arguments.
            kwargs: its arguments by name.
        """
        call = partial(contextvars.copy_context().run, work, *args, **kwargs)
        return await in_thread(call, name="job thread")

    def has_finished(self, name: str) -> bool:
        """Return whether the result of a step is stored."""
        return name in self._steps

    async def progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """Report the units of work done so far; at most two reports a second are stored.

        Args:
            done: the units done, in all attempts together.
            total: the units altogether; None where that is not known.
            note: what is being done, in a few words, without texts of memories.
        """
        self._progress.report(float(done), None if total is None else float(total), note[:256])
        now = time.monotonic()
        if now - self._reported_at >= _REPORT_INTERVAL_S or (total is not None and done >= total):
            self._reported_at = now
            await self._records.asave_progress(self._progress)

    @asynccontextmanager
    async def uploaded(self) -> AsyncIterator[tuple[str, Path]]:
        """Enter a context with the name of the job's upload and a file of its bytes.

        Raises (when it is entered):
            JobNotFoundError: the job has no upload.
        """
        folder = copies_of(self.runtime.settings.data_dir) / self.job_id
        try:
            info, file = await self._records.afetch_upload(folder)
            yield info.name, file
        finally:
            await in_thread(lambda: shutil.rmtree(folder, ignore_errors=True), name="delete upload")

    @asynccontextmanager
    async def reporting(self, note: str) -> AsyncIterator[Callable[[int, int | None], None]]:
        """Enter a context with a function that reports the units done and in total, from any thread.

        Args:
            note: what is being done.
        """
        latest: list[tuple[int, int | None]] = []

        async def send() -> None:
            while True:
                await asyncio.sleep(_REPORT_INTERVAL_S)
                if latest:
                    await self.progress(*latest[-1], note)

        def report(done: int, total: int | None) -> None:
            latest[:] = [(done, total)]

        sending = asyncio.create_task(send(), name="job progress")
        try:
            yield report
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


def key_of(kind: str, value: object) -> str:
    """Return the concurrency key of jobs of a kind with a value."""
    return f"{kind}:{value}"[:1024]


def encoded(value: JSONValue, what: str) -> bytes:
    """Encode a value as JSON of at most 1 MiB.

    Raises:
        InvalidInputError: it is not JSON, or it is longer; the message names `what`.
    """
    try:
        data = orjson.dumps(value)
    except TypeError as exc:
        raise InvalidInputError(f"{what} is not JSON", hint="return text, numbers, lists or dicts") from exc
    if len(data) > LIMITS.job_bytes:
        raise InvalidInputError(f"{what} has {len(data)} bytes", hint="store it, and return its uid")
    return data
