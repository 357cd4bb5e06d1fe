"""The requests for background jobs and their schedules, as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from super_advanced_agents.protocol.requests import ServedRequest
from super_advanced_agents.types import JobInfo, JSONValue, ScheduleInfo, UploadInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitJobRequest(ServedRequest[JobInfo]):
    """A request to submit a background job, which runs after the answer.

    `Jobs.asubmit` describes the operation.
    """

    kind: str
    arguments: Mapping[str, JSONValue] | None = None
    queue: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetJobRequest(ServedRequest[JobInfo]):
    """A request to read a background job with its progress, result or error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListJobsRequest(ServedRequest[list[JobInfo]]):
    """A request to read one page of the caller's background jobs, newest first.

    Attributes:
        state: only jobs in this state.
        kind: only jobs of this kind.
        after: the id of the last job of the page before.
        limit: the most jobs of the page, up to 1,000.
    """

    state: str | None = None
    kind: str | None = None
    after: str | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelJobRequest(ServedRequest[JobInfo]):
    """A request to cancel a background job; one that runs keeps its finished steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryJobRequest(ServedRequest[JobInfo]):
    """A request to queue a failed or cancelled background job again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryJobsRequest(ServedRequest[int]):
    """A request to queue all failed background jobs of the caller again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateUploadRequest(ServedRequest[UploadInfo]):
    """A request to begin an upload, to which parts are added.

    Attributes:
        name: the name of the file, with its path where that tells it from others.
    """

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AddPartRequest(ServedRequest[UploadInfo]):
    """A request to add bytes to an upload.

    Attributes:
        offset: the number of the bytes before, which is the upload's size.
        data: the bytes, up to 8 MiB.
    """

    offset: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListUploadsRequest(ServedRequest[list[UploadInfo]]):
    """A request to list the caller's uploads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteUploadRequest(ServedRequest[None]):
    """A request to delete an upload that no job uses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PutScheduleRequest(ServedRequest[ScheduleInfo]):
    """A request to make or replace a schedule, which submits background jobs by a clock.

    `Jobs.aput_schedule` describes the operation.
    """

    kind: str
    cron: str
    arguments: Mapping[str, JSONValue] | None = None
    zone: str = "UTC"
    missed: str = "one"
    paused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ListSchedulesRequest(ServedRequest[list[ScheduleInfo]]):
    """A request to list the caller's schedules with their next five times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseScheduleRequest(ServedRequest[ScheduleInfo]):
    """A request to pause a schedule, or to resume it.

    Attributes:
        paused: False to resume it; what it missed is skipped.
    """

    paused: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteScheduleRequest(ServedRequest[None]):
    """A request to delete a schedule; the jobs that it submitted are kept."""
