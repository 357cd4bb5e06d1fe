"""The state of a store in PostgreSQL and of its server, for `saa doctor`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from super_advanced_agents._runtime.postgres import Connection, Database, tables_version
from super_advanced_agents.stores.postgres.schema import COMPONENT, StoreSettings, settings_in
from super_advanced_agents.stores.postgres.scopes import NOW
from super_advanced_agents.stores.postgres.tables import INDEXES


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerState:
    """Describe a PostgreSQL server, as a store needs it.

    Attributes:
        version: the version of PostgreSQL.
        read_only: True for a standby, and where writes are switched off.
        vector: the version of pgvector in the database; None without it.
        vector_available: the version of pgvector that the server could install; None for none.
        may_create_vector: True if the role may install it in the database.
    """

    version: str
    read_only: bool
    vector: str | None
    vector_available: str | None
    may_create_vector: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreState:
    """Describe a store in a schema of a database.

    Attributes:
        version: the version of its tables.
        oldest: the oldest version whose programs may use them.
        settings: what it was made with; None if its tables hold none.
        rows: its records, expired ones included.
        namespaces: the namespaces with records.
        expired: records that have expired and are still there.
        expired_s: the seconds since the first of them expired; 0 without any.
        dead: rows that were deleted or replaced and still take space, as PostgreSQL estimates them.
        live: the rows of all tables, likewise.
        invalid_indexes: indexes that no search uses and each write pays for, such as those of interrupted builds.
        missing_indexes: indexes of the schema that do not exist.
        graphs: namespaces that have a graph.
        models: embedding model -> the namespaces whose vectors it made.
    """

    version: int
    oldest: int
    settings: StoreSettings | None
    rows: int
    namespaces: int
    expired: int
    expired_s: float
    dead: int
    live: int
    invalid_indexes: list[str]
    missing_indexes: list[str]
    graphs: int
    models: Mapping[str, int]


async def server_state(database: Database) -> ServerState:
    """Return what a server says of itself.

    Raises:
        ConfigurationError: the login is refused, or the database does not exist.
        EngineUnavailableError: the database cannot be reached.
    """

    async def read(connection: Connection) -> ServerState:
        cursor = await connection.execute(
            """SELECT current_setting('server_version'), current_setting('transaction_read_only') = 'on',
            (SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'vector'),
            (SELECT default_version FROM pg_catalog.pg_available_extensions WHERE name = 'vector'),
            (SELECT r.rolsuper OR (coalesce(bool_or(NOT e.superuser OR e.trusted), false)
                    AND has_database_privilege(current_database(), 'CREATE'))
                FROM pg_catalog.pg_roles r LEFT JOIN pg_catalog.pg_available_extension_versions e ON e.name = 'vector'
                WHERE r.rolname = current_user GROUP BY r.rolsuper)"""
        )
        row = await cursor.fetchone()
        assert row is not None
        return ServerState(
            version=row[0].split()[0],
            read_only=row[1],
            vector=row[2],
            vector_available=row[3],
            may_create_vector=bool(row[4]),
        )

    return await database.read(read)


async def store_state(database: Database) -> StoreState | None:
    """Return the state of the store in a database's schema; None if there is none.

    Raises:
        ConfigurationError: the role may not read it.
        EngineUnavailableError: the database cannot be reached.
    """
    found = await database.read(lambda connection: tables_version(connection, database, COMPONENT))
    if found.version == 0:
        return None
    settings = await settings_in(database)
    sql = database.sql

    async def read(connection: Connection) -> StoreState:
        cursor = await connection.execute(
            sql(
                f"""SELECT coalesce(sum(s.rows), 0)::bigint, count(*) FILTER (WHERE s.rows > 0),
                count(*) FILTER (WHERE s.graph = 'ready'), coalesce(sum(x.expired), 0)::bigint,
                coalesce({NOW} - min(x.first), 0)::float8
                FROM {{schema}}.scopes s LEFT JOIN LATERAL (SELECT count(*) AS expired, min(r.expires_at) AS first
                    FROM {{schema}}.records r WHERE s.expires AND r.scope = s.id AND r.expires_at <= {NOW}) x ON TRUE"""  # noqa: S608
            )
        )
        counts = await cursor.fetchone()
        cursor = await connection.execute(
            """SELECT coalesce(sum(n_dead_tup), 0)::bigint, coalesce(sum(n_live_tup), 0)::bigint
            FROM pg_catalog.pg_stat_user_tables WHERE schemaname = %s""",
            (database.address.schema,),
        )
        sizes = await cursor.fetchone()
        assert counts is not None
        assert sizes is not None
        indexes = await _indexes(connection, database)
        models = await (await connection.execute(sql(_MODELS))).fetchall()
        return StoreState(
            version=found.version, oldest=found.oldest, settings=settings,
            rows=counts[0], namespaces=counts[1], graphs=counts[2],
            expired=counts[3], expired_s=counts[4], dead=sizes[0], live=sizes[1],
            invalid_indexes=[name for name, valid in indexes.items() if not valid],
            missing_indexes=[name for name in INDEXES if name not in indexes],
            models=dict(models),
        )  # fmt: skip

    return await database.read(read)


_MODELS = "SELECT model, count(*) FROM {schema}.scopes WHERE model IS NOT NULL AND rows > 0 GROUP BY model"


async def _indexes(connection: Connection, database: Database) -> dict[str, bool]:
    # Those that are being built are left out.
    cursor = await connection.execute(
        """SELECT i.relname, x.indisvalid FROM pg_catalog.pg_index x
        JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid JOIN pg_catalog.pg_class t ON t.oid = x.indrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
        LEFT JOIN pg_catalog.pg_stat_progress_create_index p ON p.index_relid = i.oid
        WHERE n.nspname = %s AND p.pid IS NULL ORDER BY i.relname""",
        (database.address.schema,),
    )
    return dict(await cursor.fetchall())
