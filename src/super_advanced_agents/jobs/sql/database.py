"""`Database`: one connection to an SQL database, and the tables of jobs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from super_advanced_agents.types.jobs import ANSWER_KIND

Row = Sequence[Any]

_TABLES = """
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
"""The statements that create the first tables of jobs, with `{blob}` for the type of bytes."""

_UPLOADS = (
    "ALTER TABLE jobs ADD COLUMN upload TEXT;",
    """
CREATE TABLE job_uploads (
    id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    last_start BIGINT NOT NULL DEFAULT 0, -- the byte at which its last part begins
    job TEXT, -- the one that uses it
    created_at DOUBLE PRECISION NOT NULL,
    changed_at DOUBLE PRECISION NOT NULL
);
""",
    "CREATE INDEX job_uploads_of ON job_uploads (tenant);",
    """
CREATE TABLE job_upload_parts (
    upload TEXT NOT NULL,
    start BIGINT NOT NULL, -- the byte at which it begins
    data {blob} NOT NULL,
    PRIMARY KEY (upload, start)
);
""",  # empty with SQLite, where the bytes are in files
)

ANSWERS = f"kind = '{ANSWER_KIND}'"
"""The condition for jobs that keep an answer, which has an index."""

_STEPS = {
    1: (_TABLES,),
    2: _UPLOADS,
    3: ("ALTER TABLE jobs ADD COLUMN trace TEXT;",),
    4: (f"CREATE INDEX jobs_answers ON jobs (id) WHERE {ANSWERS};",),
}
VERSION = max(_STEPS)
"""The version of the tables that this program knows."""


def steps(blob: str) -> dict[int, tuple[str, ...]]:
    """Return for each version the statements that lead to it from the version before.

    Args:
        blob: the database's type for bytes.
    """
    return {version: tuple(each.format(blob=blob) for each in made) for version, made in _STEPS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Say what a transaction needs of the database.

    Attributes:
        alone: whether no other transaction that is alone may run beside it, in any process.
        durable: whether it must outlast a crash of the database when it has ended; False for reads, and for what is
            done again when it is lost.
    """

    alone: bool = False
    durable: bool = True


READ = Needs(durable=False)
"""The needs of what only reads."""


class Database(ABC):
    """Execute statements over one connection, which one thread at a time may use.

    Attributes:
        shared: whether other processes use the same database.
    """

    shared: bool

    @abstractmethod
    def execute(self, statement: str, parameters: Sequence[object] = ()) -> list[Row]:
        """Execute one statement, with `?` for each parameter, and return its rows."""

    @abstractmethod
    def transaction(self, needs: Needs) -> AbstractContextManager[None]:
        """Enter a context whose statements are committed together, or all rolled back.

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
