"""The MCP tool `job_status`, which tells how far a background job has come."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.server.handlers.scopes import visible_job
from super_advanced_agents.server.mcp.tool import MemoryTool, ToolSession


class JobStatusIn(BaseModel):
    """Hold the arguments of the tool `job_status`: the id of a job."""

    model_config = ConfigDict(extra="forbid")

    id: Annotated[str, Field(max_length=256, description="The id of the job, as its submission returned it.")]


class JobStatusOut(BaseModel):
    """Hold the result of the tool `job_status`: the state and progress of a job."""

    id: str
    kind: str
    state: Annotated[str, Field(description="queued, running, succeeded, failed or cancelled.")]
    note: Annotated[str, Field(description="What it is doing, or what it waits for.")]
    done: float | None
    total: float | None
    left_s: Annotated[float | None, Field(description="The estimated seconds until it is done.")]
    result: JsonValue
    error: str


async def _job_status(session: ToolSession, arguments: JobStatusIn) -> JobStatusOut:
    if session.jobs is None:
        raise ConfigurationError("there are no background jobs here", hint="use the server's /mcp")
    principal = session.context.principal
    info = visible_job(await session.jobs.aget(arguments.id, tenant=principal.tenant), principal)
    members = {name: getattr(info, name) for name in JobStatusOut.model_fields}
    return JobStatusOut(**{**members, "state": str(info.state)})


JOB_STATUS = MemoryTool(
    name="job_status",
    title="Job status",
    description="Tell how far a background job has come, such as an import, by its id.",
    operation=ops.GET_JOB,
    arguments_model=JobStatusIn,
    result_model=JobStatusOut,
    run=_job_status,
)
"""The tool; it is offered where there are jobs, to keys with the scope `jobs`."""
