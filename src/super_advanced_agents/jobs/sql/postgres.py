"""Jobs in a PostgreSQL database, which any number of workers share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.jobs.sql.database import VERSION, Database, Needs, Row, migrations, tables

if TYPE_CHECKING:
    import psycopg

_NOT_DURABLE = "; SET LOCAL synchronous_commit = off"


class PostgresDatabase(Database):
    """The jobs in the tables of one schema of a PostgreSQL database.

    Claims take one advisory lock, so that they see each other's keys and limits; they wait for no flush while they have
    it. A lost connection is opened again by the next transaction. Nothing lasts longer than a transaction, so that
    pgbouncer may stand between.

    Args:
        url: the URL of the database, such as `postgresql://user@host/name?schema=saa`.

    Raises:
        ConfigurationError: the package psycopg is missing, the URL is malformed, or the login is refused.
        EngineUnavailableError: the database cannot be reached.
    """

    shared = True

    def __init__(self, url: str) -> None:
        try:
            from super_advanced_agents._runtime.postgres import PostgresAddress
        except ImportError as exc:
            raise ConfigurationError(
                "jobs in PostgreSQL need the package psycopg", hint="pip install 'super-advanced-agents[postgres]'"
            ) from exc
        self._address = PostgresAddress.parse(url)
        schema = self._address.schema  # letters, digits and `_`
        self._begin = (
            f'BEGIN; SET LOCAL search_path = "{schema}"; SET LOCAL statement_timeout = 30000;'
            " SET LOCAL lock_timeout = 15000"
        )
        self._lock = f"; SELECT pg_advisory_xact_lock(hashtextextended('saa jobs {schema}', 0))"
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        try:
            self._create()
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
                self.close()  # the database was restarted since, and nothing has been done yet
            else:
                return connection
        raise AssertionError

    def _create(self) -> None:
        with self.transaction(Needs(alone=True)):
            schema = self._address.schema
            # A role that may not create schemas may have been given one, and IF NOT EXISTS would ask for the right.
            if not self.execute("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = ?", (schema,)):
                self.execute(f'CREATE SCHEMA "{schema}"')
            self.execute("CREATE TABLE IF NOT EXISTS job_version (number BIGINT NOT NULL)")
            found = self.execute("SELECT number FROM job_version")
            if not found:
                self.execute(tables("BYTEA"))
                self.execute("INSERT INTO job_version VALUES (?)", (VERSION,))
            elif found[0][0] > VERSION:
                raise ConfigurationError(
                    "a newer version of this package made the tables of jobs in the PostgreSQL database "
                    f"{self._address.shown}",
                    hint="upgrade super-advanced-agents, or use another schema with ?schema=NAME",
                )
            elif found[0][0] < VERSION:
                for version in range(found[0][0] + 1, VERSION + 1):
                    for statement in migrations("BYTEA")[version]:
                        self.execute(statement)
                self.execute("UPDATE job_version SET number = ?", (VERSION,))

    @contextmanager
    def _mapped_errors(self) -> Iterator[None]:
        import psycopg

        from super_advanced_agents._runtime.postgres.errors import is_disconnect, map_error

        try:
            yield
        except (psycopg.Error, OSError) as exc:
            if is_disconnect(exc):
                self.close()
            raise map_error(exc, self._address.shown) from exc.with_traceback(None)
