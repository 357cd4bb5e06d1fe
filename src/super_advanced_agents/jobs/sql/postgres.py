"""Jobs in a PostgreSQL database, which any number of workers share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from super_advanced_agents._runtime.concurrency.sync_bridge import run_sync
from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.jobs.sql.database import Database, Needs, Row, steps

if TYPE_CHECKING:
    import psycopg

    from super_advanced_agents._runtime.postgres import MigrationSteps

COMPONENT = "jobs"
_FORMER_TABLE = "job_version"
_NOT_DURABLE = "; SET LOCAL synchronous_commit = off"


class PostgresDatabase(Database):
    """Keep jobs in the tables of one schema of a PostgreSQL database.

    Claims take one advisory lock, so that they see each other's keys and limits; they wait for no flush while they have
    it. A lost connection is opened again by the next transaction. Nothing lasts longer than a transaction, so that
    pgbouncer may stand between.

    Args:
        url: the URL of the database, such as `postgresql://user@host/name?schema=saa`.

    Raises:
        ConfigurationError: the package psycopg is missing, the URL is malformed, the login is refused, or only newer
            versions of this package can use the tables.
        EngineUnavailableError: the database cannot be reached.
    """

    shared = True

    def __init__(self, url: str) -> None:
        try:
            from super_advanced_agents._runtime import postgres
        except ImportError as exc:
            raise ConfigurationError(
                "jobs in PostgreSQL need the package psycopg", hint="pip install 'super-advanced-agents[postgres]'"
            ) from exc
        self._address = postgres.PostgresAddress.parse(url)
        schema = self._address.schema  # letters, digits and `_`
        self._begin = (
            f'BEGIN; SET LOCAL search_path = "{schema}"; SET LOCAL statement_timeout = 30000;'
            " SET LOCAL lock_timeout = 15000"
        )
        self._lock = f"; SELECT pg_advisory_xact_lock(hashtextextended('saa jobs {schema}', 0))"
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        self._tables = postgres.Database(self._address)  # tells newer programs' migrations that this one runs
        try:
            run_sync(postgres.migrate(self._tables, COMPONENT, migration_steps(), former_table=_FORMER_TABLE))
        except BaseException:
            self.close()
            raise

    def execute(self, statement: str, parameters: Sequence[object] = ()) -> list[Row]:
        assert self._connection is not None
        cursor = self._connection.execute(statement.replace("?", "%s").encode(), parameters)
        return list(cursor.fetchall()) if cursor.description is not None else []

    @contextmanager
    def transaction(self, needs: Needs) -> Iterator[None]:
        with self._mapped_errors():
            connection = self._begun(needs)
            try:
                yield
            except BaseException:
                with suppress(Exception):
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def check_files(self) -> None:
        """Do nothing: the server watches its own files."""

    def close(self) -> None:
        self._disconnect()
        self._tables.close()

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(Exception):
                self._connection.close()
            self._connection = None

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        import psycopg

        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(
                self._address.conninfo,
                autocommit=True,
                prepare_threshold=None,
                connect_timeout=5,
                tcp_user_timeout=20_000,
                application_name="super_advanced_agents jobs",
            )
        return self._connection

    def _begun(self, needs: Needs) -> psycopg.Connection[tuple[Any, ...]]:
        # One message begins it: each further one would cost a round trip, which small jobs mostly wait for.
        from super_advanced_agents._runtime.postgres.errors import is_disconnect

        begin = self._begin + ("" if needs.durable else _NOT_DURABLE) + (self._lock if needs.alone else "")
        for attempt in range(2):
            known = self._connection is not None
            connection = self._connect()
            try:
                connection.execute(begin.encode())
            except BaseException as exc:
                with suppress(Exception):
                    connection.execute("ROLLBACK")
                if attempt or not known or not is_disconnect(exc):
                    raise
                self._disconnect()  # the database was restarted since, and nothing has been done yet
            else:
                return connection
        raise AssertionError

    @contextmanager
    def _mapped_errors(self) -> Iterator[None]:
        import psycopg

        from super_advanced_agents._runtime.postgres.errors import is_disconnect, map_error

        try:
            yield
        except (psycopg.Error, OSError) as exc:
            if is_disconnect(exc):
                self._disconnect()
            raise map_error(exc, self._address.shown) from exc.with_traceback(None)


def migration_steps() -> MigrationSteps:
    """Return the steps that make and upgrade the tables of jobs."""
    from super_advanced_agents._runtime.postgres import Step

    schema = "SET LOCAL search_path = {schema}"  # the statements are those of SQLite, which names none
    return {version: Step([schema, *statements]) for version, statements in steps("BYTEA").items()}
