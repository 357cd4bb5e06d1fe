"""Handlers of requests for background jobs and their schedules."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import cast

from super_advanced_agents.errors import JobError
from super_advanced_agents.jobs.jobs import Jobs, Missed
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
from super_advanced_agents.server.handlers.context import Handler, HandlerContext
from super_advanced_agents.server.handlers.scopes import visible_job
from super_advanced_agents.server.limits.admission import too_many_streams_error
from super_advanced_agents.server.limits.fair_pool import FairPool
from super_advanced_agents.tenancy.idempotent_writes import uids_for
from super_advanced_agents.types import JobInfo, ScheduleInfo, UploadInfo


def _jobs(context: HandlerContext) -> Jobs:
    if context.jobs is None:
        raise JobError("this server has no background jobs", hint="start it with `saa serve`")
    return context.jobs


def _tenant(context: HandlerContext) -> str:
    return context.request_context.principal.tenant


async def submit_job(request: SubmitJobRequest, context: HandlerContext) -> JobInfo:
    """Submit a background job, which is durable when the answer comes."""
    [job_id] = uids_for(None, 1) or [None]  # a call that is repeated with its key submits the job once
    return await _jobs(context).asubmit(
        request.kind,
        request.arguments,
        queue=request.queue,
        job_id=job_id,
        by=context.request_context.principal,
    )


async def get_job(request: GetJobRequest, context: HandlerContext) -> JobInfo:
    """Return a background job with its arguments, progress, and result or error."""
    del request
    return await _jobs(context).aget(context.target, tenant=_tenant(context))


async def list_jobs(request: ListJobsRequest, context: HandlerContext) -> list[JobInfo]:
    """List the tenant's background jobs, newest first, without results and long arguments."""
    return await _jobs(context).alist(
        state=request.state,
        kind=request.kind,
        after=request.after,
        limit=request.limit,
        tenant=_tenant(context),
    )


async def cancel_job(request: CancelJobRequest, context: HandlerContext) -> JobInfo:
    """Cancel a background job; one that runs stops within a second or two."""
    del request
    return await _jobs(context).acancel(context.target, tenant=_tenant(context))


async def retry_job(request: RetryJobRequest, context: HandlerContext) -> JobInfo:
    """Queue a failed or cancelled background job again; its finished steps are kept."""
    del request
    await _jobs(context).aretry(context.target, tenant=_tenant(context))
    return await _jobs(context).aget(context.target, tenant=_tenant(context))


async def retry_jobs(request: RetryJobsRequest, context: HandlerContext) -> int:
    """Queue all failed background jobs of the tenant again, and return how many."""
    del request
    return await _jobs(context).aretry(tenant=_tenant(context))


async def create_upload(request: CreateUploadRequest, context: HandlerContext) -> UploadInfo:
    """Begin an upload, to which parts of up to 8 MiB are added, for a job that takes its id.

    It is deleted when the job has succeeded, and after a day without one.
    """
    [upload_id] = uids_for(None, 1) or [None]
    return await _jobs(context).uploads.acreate(request.name, upload_id=upload_id, tenant=_tenant(context))


async def add_part(request: AddPartRequest, context: HandlerContext) -> UploadInfo:
    """Add bytes to an upload, durable when the answer comes; a repeated part is added once."""
    uploads = _jobs(context).uploads
    return await uploads.aadd_part(context.target, request.offset, request.data, tenant=_tenant(context))


async def list_uploads(request: ListUploadsRequest, context: HandlerContext) -> list[UploadInfo]:
    """List the tenant's uploads, the oldest first."""
    del request
    return list(await _jobs(context).uploads.alist(tenant=_tenant(context)))


async def delete_upload(request: DeleteUploadRequest, context: HandlerContext) -> None:
    """Delete an upload that no job uses."""
    del request
    await _jobs(context).uploads.adelete(context.target, tenant=_tenant(context))


async def put_schedule(request: PutScheduleRequest, context: HandlerContext) -> ScheduleInfo:
    """Make or replace a schedule, and return it with its next five times."""
    return await _jobs(context).aput_schedule(
        context.target,
        request.kind,
        request.cron,
        request.arguments,
        zone=request.zone,
        missed=cast("Missed", request.missed),
        paused=request.paused,
        by=context.request_context.principal,
    )


async def list_schedules(request: ListSchedulesRequest, context: HandlerContext) -> list[ScheduleInfo]:
    """List the tenant's schedules with their next five times, by name."""
    del request
    return list(await _jobs(context).aschedules(tenant=_tenant(context)))


async def pause_schedule(request: PauseScheduleRequest, context: HandlerContext) -> ScheduleInfo:
    """Pause a schedule, or resume it; the times that it missed while it was paused are skipped."""
    return await _jobs(context).apause_schedule(context.target, paused=request.paused, tenant=_tenant(context))


async def delete_schedule(request: DeleteScheduleRequest, context: HandlerContext) -> None:
    """Delete a schedule; the jobs that it submitted are kept."""
    del request
    await _jobs(context).adelete_schedule(context.target, tenant=_tenant(context))


async def watch_job(context: HandlerContext, streams: FairPool) -> AsyncGenerator[JobInfo, None]:
    """Yield a background job now and after each change, until it has ended.

    Args:
        context: the caller, and the id of the job as its target.
        streams: the streams that the callers of each tenant may have open; a watch counts as one.

    Raises:
        OverloadedError: the tenant has too many streams.
    """
    tenant = _tenant(context)
    if not streams.enter_now(tenant):
        raise too_many_streams_error()
    try:
        async for info in _jobs(context).awatch(context.target, tenant=tenant):
            yield visible_job(info, context.request_context.principal)
    finally:
        streams.leave(tenant)


HANDLERS: dict[str, Handler] = {
    ops.SUBMIT_JOB.name: submit_job,
    ops.GET_JOB.name: get_job,
    ops.LIST_JOBS.name: list_jobs,
    ops.CANCEL_JOB.name: cancel_job,
    ops.RETRY_JOB.name: retry_job,
    ops.RETRY_JOBS.name: retry_jobs,
    ops.CREATE_UPLOAD.name: create_upload,
    ops.ADD_PART.name: add_part,
    ops.LIST_UPLOADS.name: list_uploads,
    ops.DELETE_UPLOAD.name: delete_upload,
    ops.PUT_SCHEDULE.name: put_schedule,
    ops.LIST_SCHEDULES.name: list_schedules,
    ops.PAUSE_SCHEDULE.name: pause_schedule,
    ops.DELETE_SCHEDULE.name: delete_schedule,
}
"""The handlers by the name of their operation."""
