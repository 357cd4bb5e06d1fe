"""Routes of background jobs (`/v1/jobs...`) and of their schedules (`/v1/schedules...`)."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from http import HTTPStatus
from typing import Any, Literal

import orjson
from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import Response

from super_advanced_agents.protocol import job_requests as protocol
from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.protocol.json_codec import json_of_result
from super_advanced_agents.server.handlers.jobs import watch_job
from super_advanced_agents.server.http.body import JSONRoute
from super_advanced_agents.server.http.dependencies import services_of
from super_advanced_agents.server.http.endpoints import Endpoint, ParsedRequest, add_endpoint, handle
from super_advanced_agents.server.http.schemas import results
from super_advanced_agents.server.http.schemas.bodies import Parameters, body_of
from super_advanced_agents.server.http.schemas.streams import JOB_STREAM
from super_advanced_agents.server.http.streaming.json_answers import Items
from super_advanced_agents.server.http.streaming.sse import LAST_EVENT_ID, MEDIA_TYPE, NOTHING_NEW, EventStream, event
from super_advanced_agents.types import JSONValue

router = APIRouter(tags=["jobs"], route_class=JSONRoute)

_BYTES = "application/octet-stream"
_State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
_EVENTS: dict[int | str, dict[str, Any]] = {
    HTTPStatus.OK.value: {"content": {MEDIA_TYPE: JOB_STREAM}},
    HTTPStatus.NO_CONTENT.value: {"description": "`Last-Event-ID` names the end of the job: nothing follows."},
}


async def _list(parsed: ParsedRequest) -> Any:
    page, limit = await parsed.result(), parsed.value("limit")
    return {"jobs": Items(page, json_of_result), "next": page[-1].id if len(page) >= limit else None}


async def _watch(parsed: ParsedRequest) -> Any:
    if "application/json" in parsed.request.headers.get("accept", ""):
        return await handle(parsed.for_operation(ops.GET_JOB))
    stream = await EventStream.start(_changes(parsed), parsed.request.receive, ahead=1)
    # After 204 a browser does not connect again; after an empty stream it would, for ever.
    return stream if stream.first_events else Response(status_code=HTTPStatus.NO_CONTENT)


async def _changes(parsed: ParsedRequest) -> AsyncGenerator[bytes, None]:
    streams, seen = services_of(parsed.request).admission.streams, parsed.request.headers.get(LAST_EVENT_ID)
    async with aclosing(watch_job(parsed.context, streams)) as changes:
        async for info in changes:
            data = json_of_result(info)
            event_id = _event_id(data)
            if event_id != seen:
                yield event("job", data, event_id=event_id)
            elif not info.state.final:
                yield NOTHING_NEW
            seen = None


def _event_id(job: Mapping[str, JSONValue]) -> str:
    # Of the state itself, so that each server gives it the same one. Some events lack long members.
    brief = {name: value for name, value in job.items() if name not in ("arguments", "result")}
    return hashlib.blake2b(orjson.dumps(brief, option=orjson.OPT_SORT_KEYS), digest_size=12).hexdigest()


async def _add_part(parsed: ParsedRequest) -> Any:
    if parsed.request.headers.get("content-type", "").partition(";")[0].strip().lower() != _BYTES:
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Content-Type must be {_BYTES}")
    data = await parsed.request.body()
    added = await parsed.result(lambda: protocol.AddPartRequest(offset=parsed.value("offset"), data=data))
    return json_of_result(added)


ENDPOINTS = (
    Endpoint(operation=ops.SUBMIT_JOB, body=body_of(protocol.SubmitJobRequest, "JobIn"), response_model=results.JobOut),
    Endpoint(
        operation=ops.LIST_JOBS,
        parameters=body_of(
            protocol.ListJobsRequest, "ListJobsParameters", base=Parameters, state=(_State | None, None)
        ),
        response_model=results.JobPage,
        handler=_list,
    ),
    Endpoint(operation=ops.RETRY_JOBS, response_model=results.Retried),
    Endpoint(operation=ops.GET_JOB, response_model=results.JobOut),
    Endpoint(
        operation=ops.WATCH_JOB,
        response_model=results.JobOut,
        responses=_EVENTS,
        handler=_watch,
        description="Send the job as an event `job` now and after each change, until it has ended; as JSON, only "
        "the job as it is. After a gap the state follows that the job has then, unless `Last-Event-ID` names it.",
    ),
    Endpoint(operation=ops.CANCEL_JOB, response_model=results.JobOut),
    Endpoint(operation=ops.RETRY_JOB, response_model=results.JobOut),
    Endpoint(
        operation=ops.CREATE_UPLOAD,
        body=body_of(protocol.CreateUploadRequest, "UploadIn"),
        response_model=results.UploadOut,
    ),
    Endpoint(
        operation=ops.ADD_PART,
        parameters=body_of(protocol.AddPartRequest, "AddPartParameters", without=["data"], base=Parameters),
        response_model=results.UploadOut,
        handler=_add_part,
        media_type=_BYTES,
    ),
    Endpoint(operation=ops.LIST_UPLOADS, response_model=results.Uploads),
    Endpoint(operation=ops.DELETE_UPLOAD),
    Endpoint(operation=ops.LIST_SCHEDULES, response_model=results.Schedules),
    Endpoint(
        operation=ops.PUT_SCHEDULE,
        body=body_of(protocol.PutScheduleRequest, "ScheduleIn", missed=(Literal["skip", "one", "all"], "one")),
        response_model=results.ScheduleOut,
    ),
    Endpoint(
        operation=ops.PAUSE_SCHEDULE,
        body=body_of(protocol.PauseScheduleRequest, "PauseIn"),
        response_model=results.ScheduleOut,
    ),
    Endpoint(operation=ops.DELETE_SCHEDULE),
)

for endpoint in ENDPOINTS:
    add_endpoint(router, endpoint)
