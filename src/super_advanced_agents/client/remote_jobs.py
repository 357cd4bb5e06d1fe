"""`RemoteJobs`, a client of the background jobs and schedules of a tenant at a server."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from super_advanced_agents._runtime.concurrency.sync_bridge import blocking
from super_advanced_agents._runtime.disk.file_parts import reading_parts
from super_advanced_agents.client.transports.base import RemoteCall
from super_advanced_agents.client.transports.connection import ConnectedClient
from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.protocol.job_requests import (
    AddPartRequest,
    CancelJobRequest,
    CreateUploadRequest,
    DeleteScheduleRequest,
    DeleteUploadRequest,
    GetJobRequest,
    ListJobsRequest,
    ListSchedulesRequest,
    ListUploadsRequest,
    PauseScheduleRequest,
    PutScheduleRequest,
    RetryJobRequest,
    RetryJobsRequest,
    SubmitJobRequest,
)
from super_advanced_agents.types import JobInfo, JSONValue, ScheduleInfo, UploadInfo


class RemoteJobs(ConnectedClient):
    """Submit background jobs and schedules at a server, follow, cancel and retry them.

    Args:
        url: the server's URL; see `RemoteAgent`.
        api_key: an API key or a JWT with the scope `jobs`, which determines the tenant.
        timeout_s: seconds for one call with all its attempts.
        ca_file: the certificates (PEM) of the trusted authorities; the system's when None.

    Raises:
        ConfigurationError: an argument is wrong.
    """

    async def asubmit(
        self, kind: str, arguments: Mapping[str, JSONValue] | None = None, *, queue: str | None = None
    ) -> JobInfo:
        """Submit a job, which is durable on return; a call that is repeated submits it once."""
        request = SubmitJobRequest(kind=kind, arguments=arguments, queue=queue)
        return await self._acall(RemoteCall(ops.SUBMIT_JOB, "", request))

    submit = blocking(asubmit)

    async def aupload(self, file: str | os.PathLike[str], *, name: str | None = None) -> UploadInfo:
        """Upload a file for a job that takes its id; return the upload.

        It is sent in parts of 1 MiB, each durable, and sent again where its answer is lost.

        Args:
            file: the path of the file.
            name: the name under which the server knows it; the file's own when None.

        Raises:
            InvalidInputError: there is no such file, it is empty, or there is no room for it.
        """
        path = Path(file)
        request = CreateUploadRequest(name=path.name if name is None else name)
        async with reading_parts(path) as next_part:
            info = await self._acall(RemoteCall(ops.CREATE_UPLOAD, "", request))
            while data := await next_part():
                part = AddPartRequest(offset=info.size_bytes, data=data)
                info = await self._acall(RemoteCall(ops.ADD_PART, info.id, part))
        return info

    upload = blocking(aupload)

    async def auploads(self) -> Sequence[UploadInfo]:
        """Return the uploads, the oldest first."""
        return await self._acall(RemoteCall(ops.LIST_UPLOADS, "", ListUploadsRequest()))

    uploads = blocking(auploads)

    async def adelete_upload(self, upload_id: str) -> None:
        """Delete an upload that no job uses."""
        await self._acall(RemoteCall(ops.DELETE_UPLOAD, upload_id, DeleteUploadRequest()))

    delete_upload = blocking(adelete_upload)

    async def aget(self, job_id: str) -> JobInfo:
        """Return a job with its arguments, progress, and result or error."""
        return await self._acall(RemoteCall(ops.GET_JOB, job_id, GetJobRequest()))

    get = blocking(aget)

    async def alist(
        self, *, state: str | None = None, kind: str | None = None, after: str | None = None, limit: int = 100
    ) -> list[JobInfo]:
        """Return one page of jobs, newest first, without results and long arguments."""
        request = ListJobsRequest(state=state, kind=kind, after=after, limit=limit)
        return await self._acall(RemoteCall(ops.LIST_JOBS, "", request))

    list = blocking(alist)

    async def acancel(self, job_id: str) -> JobInfo:
        """Cancel a job; one that runs stops within a second or two."""
        return await self._acall(RemoteCall(ops.CANCEL_JOB, job_id, CancelJobRequest()))

    cancel = blocking(acancel)

    async def aretry(self, job_id: str | None = None) -> int:
        """Queue a failed or cancelled job again, or all failed ones when None; return how many."""
        if job_id is None:
            return await self._acall(RemoteCall(ops.RETRY_JOBS, "", RetryJobsRequest()))
        await self._acall(RemoteCall(ops.RETRY_JOB, job_id, RetryJobRequest()))
        return 1

    retry = blocking(aretry)

    async def aput_schedule(
        self,
        name: str,
        kind: str,
        cron: str,
        arguments: Mapping[str, JSONValue] | None = None,
        *,
        zone: str = "UTC",
        missed: str = "one",
        paused: bool = False,
    ) -> ScheduleInfo:
        """Make or replace a schedule; return it with its next five times."""
        request = PutScheduleRequest(kind=kind, cron=cron, arguments=arguments, zone=zone, missed=missed, paused=paused)
        return await self._acall(RemoteCall(ops.PUT_SCHEDULE, name, request))

    put_schedule = blocking(aput_schedule)

    async def aschedules(self) -> Sequence[ScheduleInfo]:
        """Return the schedules with their next five times, in the order of their names."""
        call = RemoteCall(ops.LIST_SCHEDULES, "", ListSchedulesRequest())
        return await self._acall(call)

    schedules = blocking(aschedules)

    async def apause_schedule(self, name: str, *, paused: bool = True) -> ScheduleInfo:
        """Pause or resume a schedule; what it missed while paused is skipped."""
        call = RemoteCall(ops.PAUSE_SCHEDULE, name, PauseScheduleRequest(paused=paused))
        return await self._acall(call)

    pause_schedule = blocking(apause_schedule)

    async def adelete_schedule(self, name: str) -> None:
        """Delete a schedule; the jobs that it submitted are kept."""
        await self._acall(RemoteCall(ops.DELETE_SCHEDULE, name, DeleteScheduleRequest()))

    delete_schedule = blocking(adelete_schedule)
