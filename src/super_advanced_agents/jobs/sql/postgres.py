"""Jobs in a PostgreSQL database, which any number of workers share."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from super_advanced_agents.errors import (
    ConfigurationError,
    EngineUnavailableError,
    StoreError,
    StoreFullError,
    SuperAdvancedAgentsError,
)
from super_advanced_agents.jobs.sql.database import TABLES, VERSION, Database, Row

if TYPE_CHECKING:
    import psycopg

_SCHEMA_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_OPTIONS = "-c statement_timeout=30000 -c lock_timeout=15000 -c idle_in_transaction_session_timeout=30000"


class PostgresDatabase(Database):
    """The jobs in the tables of one schema of a PostgreSQL database.

    Transactions that write take one advisory lock, so that claims see each other's keys and limits, and none waits for
    another in a circle. A lost connection is opened again by the next transaction.

    Args:
        url: the URL of the database, `postgresql://...`.
        schema: the schema of the tables; created if it does not exist.

    Raises:
        ConfigurationError: the package psycopg is missing, or the URL is invalid.
        EngineUnavailableError: the database cannot be reached.
    """

    shared = True

    def __init__(self, url: str, *, schema: str = "saa_jobs") -> None:
        try:
            import psycopg
        except ImportError as exc:
            raise ConfigurationError(
                "jobs in PostgreSQL need the package psycopg", hint="pip install 'super-advanced-agents[postgres]'"
            ) from exc
        if _SCHEMA_NAME.fullmatch(schema) is None:
            raise ConfigurationError(f"{schema!r} is not the name of a schema")
        self._psycopg = psycopg
        self._url = url
        self._schema = schema
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        with self._mapped_errors():
            self._connect()

    def execute(self, statement: str, parameters: Sequence[object] = ()) -> list[Row]:
        assert self._connection is not None
        cursor = self._connection.execute(statement.replace("?", "%s"), parameters)
        return list(cursor.fetchall()) if cursor.description is not None else []

    @contextmanager
    def transaction(self, *, writes: bool) -> Iterator[None]:
        with self._mapped_errors():
            connection = self._connect()
            with connection.transaction():
                if writes:
                    self.execute("SELECT pg_advisory_xact_lock(hashtext(?))", (self._schema,))
                yield

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        assert self._connection is not None
        with self._connection.transaction():
            yield

    def check_files(self) -> None:
        """Do nothing: the server watches its own files."""

    def close(self) -> None:
        if self._connection is not None:
            with suppress(self._psycopg.Error):
                self._connection.close()
            self._connection = None

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        if self._connection is not None and not self._connection.closed:
            return self._connection
        connection = self._psycopg.connect(
            self._url, autocommit=True, connect_timeout=5, application_name="saa jobs", options=_OPTIONS
        )
        self._connection = connection
        connection.execute("SET synchronous_commit = on")
        with connection.transaction():
            self.execute("SELECT pg_advisory_xact_lock(hashtext(?))", (self._schema,))
            self.execute(f"CREATE SCHEMA IF NOT EXISTS {self._schema}")
            connection.execute(f"SET search_path = {self._schema}")
            self.execute("CREATE TABLE IF NOT EXISTS version (number BIGINT NOT NULL)")
            found = self.execute("SELECT number FROM version")
            if not found:
                for statement in TABLES.format(blob="BYTEA").split(";\n"):
                    connection.execute(statement)
                self.execute("INSERT INTO version VALUES (?)", (VERSION,))
            elif found[0][0] > VERSION:
                raise StoreError(
                    "a newer version of this package made the tables of jobs", hint="upgrade super-advanced-agents"
                )
        return connection

    @contextmanager
    def _mapped_errors(self) -> Iterator[None]:
        psycopg = self._psycopg
        try:
            yield
        except SuperAdvancedAgentsError:
            raise
        except psycopg.errors.DiskFull as exc:
            raise StoreFullError("the database of jobs has no room", hint="free some, then try again") from exc
        except psycopg.ProgrammingError as exc:
            self.close()
            raise StoreError(f"the database of jobs refused a statement: {type(exc).__name__}") from exc
        except (psycopg.OperationalError, psycopg.InterfaceError) as exc:
            self.close()
            raise EngineUnavailableError(
                "the database of jobs cannot be reached", hint="check the URL, and that PostgreSQL runs"
            ) from None if "password" in str(exc) else exc
        except psycopg.Error as exc:
            self.close()
            raise StoreError(f"the database of jobs failed: {type(exc).__name__}") from exc
