"""`Database`: one connection to an SQL database, and the tables of jobs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

Row = Sequence[Any]

TABLES = """
CREATE TABLE jobs (
    id TEXT PRIMARY KEY, -- ascends with the time of submission
    tenant TEXT NOT NULL,
    scopes TEXT NOT NULL, -- separated by spaces
    kind TEXT NOT NULL,
    queue TEXT NOT NULL,
    key TEXT, -- only one running job of the tenant has it
    arguments {blob} NOT NULL, -- JSON
    state TEXT NOT NULL,
    attempt BIGINT NOT NULL DEFAULT 0,
    max_attempts BIGINT NOT NULL,
    losses BIGINT NOT NULL DEFAULT 0, -- workers that ended while they ran it, since its last step
    claim BIGINT NOT NULL DEFAULT 0, -- grows with each claim; reports of earlier ones are ignored
    worker TEXT,
    cancelling BIGINT NOT NULL DEFAULT 0,
    due_at DOUBLE PRECISION NOT NULL DEFAULT 0,
    changed_at DOUBLE PRECISION NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    started_at DOUBLE PRECISION,
    finished_at DOUBLE PRECISION,
    done DOUBLE PRECISION,
    total DOUBLE PRECISION,
    per_s DOUBLE PRECISION,
    left_s DOUBLE PRECISION,
    note TEXT NOT NULL DEFAULT '',
    result {blob}, -- JSON
    error TEXT NOT NULL DEFAULT '',
    schedule TEXT
);
CREATE INDEX jobs_queued ON jobs (tenant, queue, id) WHERE state = 'queued';
CREATE INDEX jobs_running ON jobs (tenant, key) WHERE state = 'running';
CREATE INDEX jobs_of_worker ON jobs (worker) WHERE state = 'running';
CREATE INDEX jobs_of ON jobs (tenant, id);
CREATE INDEX jobs_ended ON jobs (state, finished_at) WHERE finished_at IS NOT NULL;
CREATE TABLE job_steps (
    job TEXT NOT NULL,
    name TEXT NOT NULL,
    result {blob} NOT NULL, -- JSON
    PRIMARY KEY (job, name)
);
CREATE TABLE job_workers (
    id TEXT PRIMARY KEY,
    beat BIGINT NOT NULL, -- grows with each heartbeat
    kinds TEXT NOT NULL, -- separated by spaces
    queues TEXT NOT NULL
);
CREATE TABLE job_schedules (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    scopes TEXT NOT NULL,
    kind TEXT NOT NULL,
    arguments {blob} NOT NULL,
    cron TEXT NOT NULL,
    zone TEXT NOT NULL,
    missed TEXT NOT NULL,
    paused BIGINT NOT NULL DEFAULT 0,
    made_at DOUBLE PRECISION NOT NULL,
    due_at DOUBLE PRECISION NOT NULL,
    last_at DOUBLE PRECISION,
    error TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (tenant, name)
);
CREATE INDEX job_schedules_due ON job_schedules (due_at) WHERE paused = 0;
"""
"""The statements that create the tables; `{blob}` is the database's type for bytes."""

VERSION = 1


class Database(ABC):
    """One connection to an SQL database, used by one thread at a time.

    Attributes:
        shared: whether other processes use the same database.
    """

    shared: bool

    @abstractmethod
    def execute(self, statement: str, parameters: Sequence[object] = ()) -> list[Row]:
        """Execute one statement, with `?` for each parameter, and return its rows."""

    @abstractmethod
    def transaction(self, *, writes: bool) -> AbstractContextManager[None]:
        """Enter a context whose statements are committed together, durably, or all rolled back.

        Raises:
            SuperAdvancedAgentsError: the database failed; nothing was stored.
        """

    @abstractmethod
    def check_files(self) -> None:
        """Raise `StoreError` if others removed, replaced, emptied or cut a file of the database."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection and release locks."""


def marks(n: int) -> str:
    """Return `n` question marks for a list of parameters."""
    return ", ".join("?" * n)
