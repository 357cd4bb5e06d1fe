"""Durable batch and scheduled work: in SQLite for one process, in PostgreSQL for many."""

from super_advanced_agents.jobs.backend import JobBackend, JobLimits
from super_advanced_agents.jobs.context import JobContext
from super_advanced_agents.jobs.jobs import Jobs
from super_advanced_agents.jobs.kinds import JobKind, job
from super_advanced_agents.jobs.sql import SQLJobBackend
from super_advanced_agents.jobs.worker import Worker, WorkerOptions
from super_advanced_agents.types import JobInfo, JobState, ScheduleInfo

__all__ = [
    "JobBackend",
    "JobContext",
    "JobInfo",
    "JobKind",
    "JobLimits",
    "JobState",
    "Jobs",
    "SQLJobBackend",
    "ScheduleInfo",
    "Worker",
    "WorkerOptions",
    "job",
]
