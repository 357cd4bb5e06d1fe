"""The PostgreSQL database of what the servers of one service share besides the memories.

It holds the catalog, the API keys and the idempotent requests. Its tables are created by the first server, in
the schema of the store.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from super_advanced_agents._runtime.concurrency.lifecycle import Resource
from super_advanced_agents._runtime.concurrency.sync_bridge import run_sync
from super_advanced_agents.errors import (
    ConfigurationError,
    DeadlineExceededError,
    EngineUnavailableError,
    OverloadedError,
)
from super_advanced_agents.tenancy.settings import Settings

if TYPE_CHECKING:
    from super_advanced_agents._runtime.postgres import Connection, Database, MigrationSteps

T = TypeVar("T")

_SCHEMES = frozenset({"postgresql", "postgres"})
COMPONENT = "server"
_STATEMENTS = {
    1: (
        "CREATE TABLE {schema}.server_versions (name text PRIMARY KEY, number bigint NOT NULL)",
        "INSERT INTO {schema}.server_versions VALUES ('catalog', 0), ('keys', 0)",
        """CREATE TABLE {schema}.server_collections (
            tenant text NOT NULL, name text NOT NULL, id text PRIMARY KEY, dim bigint NOT NULL, metric text NOT NULL,
            index text NOT NULL, storage text NOT NULL, created_at double precision NOT NULL,
            version bigint NOT NULL, -- of the catalog that has the row as it is
            deleted_at timestamptz, -- kept until every server has read it
            removed boolean NOT NULL DEFAULT false -- true once the records of a deleted collection are gone
        )""",
        """CREATE UNIQUE INDEX server_collections_name ON {schema}.server_collections (tenant, name)
            WHERE deleted_at IS NULL""",
        "CREATE INDEX server_collections_version ON {schema}.server_collections (version)",
        """CREATE TABLE {schema}.server_agents (
            tenant text NOT NULL, name text NOT NULL, settings text NOT NULL, updated_at double precision NOT NULL,
            version bigint NOT NULL, deleted_at timestamptz, PRIMARY KEY (tenant, name)
        )""",
        "CREATE INDEX server_agents_version ON {schema}.server_agents (version)",
        "CREATE TABLE {schema}.server_secrets (name text PRIMARY KEY, value bytea NOT NULL)",
        """CREATE TABLE {schema}.server_keys (
            id text PRIMARY KEY, digest bytea NOT NULL, tenant text NOT NULL, scopes text NOT NULL, label text NOT NULL,
            created_at double precision NOT NULL, expires_at double precision, revoked_at double precision
        )""",
        """CREATE TABLE {schema}.server_requests (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant text NOT NULL, key text NOT NULL,
            digest bytea NOT NULL, seed bytea NOT NULL, facts text NOT NULL, at double precision NOT NULL,
            held_until timestamptz NOT NULL, -- while a server works on it
            status integer, headers text, body bytea, UNIQUE (tenant, key)
        )""",
        "CREATE INDEX server_requests_at ON {schema}.server_requests (at)",
        "CREATE INDEX server_requests_of ON {schema}.server_requests (tenant, id)",
    )
}
_STATEMENT_S = 3.0
"""The most seconds of one read or transaction; they concern a few rows each."""


class SharedState(Resource):
    """Give access to the tables that the servers of one service share.

    A database that does not answer within three seconds counts as one that cannot be reached. Closing releases the
    connections, unless a store of the process uses them too.

    Args:
        url: the URL of the PostgreSQL database, such as `postgresql://user@host/name?schema=saa`.

    Raises:
        ConfigurationError: the URL is malformed, or psycopg is not installed.
    """

    def __init__(self, url: str) -> None:
        try:
            from super_advanced_agents._runtime.postgres import Database, PostgresAddress
        except ImportError as exc:
            raise ConfigurationError(
                "state in PostgreSQL needs the package psycopg",
                hint="pip install 'super-advanced-agents[postgres]'",
            ) from exc
        self._database: Database = Database(PostgresAddress.parse(url), wait_s=_STATEMENT_S)
        super().__init__()

    async def aopen(self) -> None:
        """Create or upgrade the tables.

        Raises:
            ConfigurationError: a newer version of this package made them, or the role may not create them.
            EngineUnavailableError: the database cannot be reached.
        """
        from super_advanced_agents._runtime.postgres import migrate

        await migrate(self._database, COMPONENT, migration_steps())

    def open(self) -> None:
        """Create or upgrade the tables, as `aopen` does. Blocks."""
        run_sync(self.aopen())

    def sql(self, statement: str) -> str:
        """Return a statement with the quoted name of the schema in place of each `{schema}`."""
        return self._database.sql(statement)

    async def aread(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Return the result of work whose statements each stand alone.

        Raises:
            EngineUnavailableError: the database cannot be reached, or does not answer in time.
        """
        try:
            return await self._database.read(work, seconds=_STATEMENT_S)
        except (DeadlineExceededError, OverloadedError) as exc:
            raise _slow() from exc

    async def awrite(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Return the result of work that is one transaction, committed when this returns.

        Raises:
            EngineUnavailableError: the database cannot be reached, or does not answer in time.
        """
        try:
            return await self._database.write(work, seconds=_STATEMENT_S)
        except (DeadlineExceededError, OverloadedError) as exc:
            raise _slow() from exc

    def read(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Return the result of work, as `aread` does. Blocks."""
        return run_sync(self.aread(work))

    def write(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Return the result of work that is one transaction, as `awrite` does. Blocks."""
        return run_sync(self.awrite(work))

    def _release(self) -> None:
        self._database.close()


def migration_steps() -> MigrationSteps:
    """Return the steps that make and upgrade the tables of the servers' state."""
    from super_advanced_agents._runtime.postgres import Step

    return {number: Step(each) for number, each in _STATEMENTS.items()}


def state_url(settings: Settings) -> str | None:
    """Return the URL of the database for the state of servers.

    Returns:
        The one of `state`, else that of the store if it is PostgreSQL; None where the state is in the data folder.
    """
    if settings.state is not None:
        return settings.state.get_secret_value()
    url = settings.store_url
    return url if url.partition(":")[0].lower() in _SCHEMES else None


def is_shared(url: str) -> bool:
    """Return whether the store of a URL holds the catalog, too, which servers share then."""
    return url.partition(":")[0].lower() in _SCHEMES


def shared_state(settings: Settings) -> SharedState | None:
    """Return the database of `state_url`, not open yet; None for the data folder."""
    url = state_url(settings)
    return None if url is None else SharedState(url)


def _slow() -> EngineUnavailableError:
    return EngineUnavailableError("the database of the servers' state does not answer in time", hint="try again")
