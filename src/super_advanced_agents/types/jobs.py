"""Jobs, schedules and their states, as callers see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from super_advanced_agents.types.values import JSONValue


class JobState(StrEnum):
    """The states of a job; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """True when the job has ended; only a retry changes it then."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobInfo:
    """Describe a background job: its arguments, state, progress, and result or error.

    Attributes:
        id: the identifier; it ascends with the time of submission.
        kind: the name of the function that carries it out.
        queue: the queue in which it waits.
        state: `queued`, `running`, `succeeded`, `failed` or `cancelled`.
        arguments: the arguments, by name.
        attempt: the number of attempts that have begun.
        max_attempts: the number of attempts after which the job fails for good.
        done: the number of units of work done; None before the job reports any.
        total: the number of units of work altogether; None where it is not known.
        per_s: the units of work done per second in this attempt; None before there are any.
        left_s: the estimated seconds until it is done; None where they cannot be estimated.
        note: what the job is doing, or what it waits for.
        result: the value that the job returned.
        error: the reason of the last failed attempt; empty when there was none.
        schedule: the schedule that submitted it; None for a job submitted by a caller.
        created_at: the time of submission, in seconds since 1970.
        started_at: the time at which the last attempt began.
        finished_at: the time at which the job ended.
    """

    id: str
    kind: str
    queue: str
    state: JobState
    arguments: dict[str, JSONValue] = field(repr=False)
    attempt: int = 0
    max_attempts: int = 5
    done: float | None = None
    total: float | None = None
    per_s: float | None = None
    left_s: float | None = None
    note: str = ""
    result: JSONValue = field(default=None, repr=False)
    error: str = ""
    schedule: str | None = None
    created_at: float = 0.0
    started_at: float | None = None
    finished_at: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", JobState(self.state))  # text where it came over a network


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadInfo:
    """Describe an upload, a file that a caller sends in parts for a job.

    Attributes:
        id: the identifier, which a job takes as its argument `upload`.
        name: the name of the file, with its path where that tells it from others.
        size_bytes: the bytes that were added so far.
        job: the job that uses it; None before one does.
        created_at: the time at which it was begun, in seconds since 1970.
    """

    id: str
    name: str
    size_bytes: int = 0
    job: str | None = None
    created_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleInfo:
    """Describe a schedule: the job that it submits, its times, and the next five of them.

    Attributes:
        name: the name, unique within the tenant.
        kind: the name of the function that carries out its jobs.
        arguments: the arguments of its jobs, by name.
        cron: five fields: minute, hour, day of the month, month, day of the week.
        zone: the IANA time zone of these fields, such as `Europe/Berlin`.
        missed: what happens after downtime: `skip` the missed times, run `one` job for them, or `all`.
        paused: whether it submits no jobs.
        next_at: the next five times, in seconds since 1970; empty while it is paused.
        last_at: the last time for which it submitted a job; None before the first.
        error: the reason why its last job was not submitted; empty when it was.
    """

    name: str
    kind: str
    arguments: dict[str, JSONValue] = field(repr=False)
    cron: str
    zone: str = "UTC"
    missed: str = "one"
    paused: bool = False
    next_at: Sequence[float] = ()
    last_at: float | None = None
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswer:
    """An answer that a job keeps, as its result or as the result of a step.

    Attributes:
        job: the id of the job.
        tenant: the tenant to which it belongs.
        claim: the number of the job's latest claim; the answer is another one after the next.
        value: the answer as JSON values; None where there is none.
    """

    job: str
    tenant: str
    claim: int
    value: JSONValue = field(repr=False)


ANSWER_KIND, ANSWER_STEP = "ask_agent", "ask"
"""The kind of jobs that keep an answer, and the step that makes it."""
