"""Jobs in an SQL database: SQLite for one process, PostgreSQL for any number of workers."""

from super_advanced_agents.jobs.sql.backend import SQLJobBackend

__all__ = ["SQLJobBackend"]
