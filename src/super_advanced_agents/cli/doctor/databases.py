"""Checks of `saa doctor` for PostgreSQL: the store, the state of servers and the jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from super_advanced_agents._runtime.concurrency.sync_bridge import run_sync
from super_advanced_agents.cli.doctor.check import Check
from super_advanced_agents.cli.doctor.machine import model_check, model_dim
from super_advanced_agents.errors import SuperAdvancedAgentsError
from super_advanced_agents.jobs.opening import jobs_place
from super_advanced_agents.jobs.sql import postgres as jobs
from super_advanced_agents.stores import PgVectorStore
from super_advanced_agents.tenancy import shared_state
from super_advanced_agents.tenancy.settings import Settings

if TYPE_CHECKING:
    from super_advanced_agents._runtime.postgres import Database, MigrationSteps
    from super_advanced_agents.stores.postgres.inspection import ServerState, StoreState

_UPGRADE = "upgrade super-advanced-agents, or use another schema with ?schema=NAME"
_RESTORE = "restore them from a backup of the database"
_PRIMARY = "use the primary's URL, or several hosts with ?target_session_attrs=read-write"
_DEAD_ROWS, _DEAD_SHARE = 10_000, 0.4
_SWEPT_AFTER_S = 600.0
"""Seconds after which a running server has removed what has expired."""


def check_databases(data_dir: Path) -> Iterator[Check]:
    """Yield check results for the store, the state and the jobs that the settings name.

    There are none of those that are not in PostgreSQL.
    """
    settings = Settings.load_for_folder(data_dir=data_dir)
    if shared_state.is_shared(settings.store_url):
        yield from _checked("store", settings.store_url, lambda database: _of_store(database, settings))
    state, place = shared_state.state_url(settings), jobs_place(settings)
    if state is not None:
        yield from _checked("state", state, _of_state_and_jobs if place == state else _of_state)
    if isinstance(place, str) and place != state:
        yield from _checked("jobs", place, _of_jobs)


def _checked(name: str, url: str, checks_of: Callable[[Database], Iterator[Check]]) -> Iterator[Check]:
    try:
        PgVectorStore.load_driver()
        from super_advanced_agents._runtime.postgres import Database, PostgresAddress

        database = Database(PostgresAddress.parse(url), connections=1)
        try:
            yield from checks_of(database)
        finally:
            database.close()
    except SuperAdvancedAgentsError as exc:
        yield Check(name=f"{name} database", ok=False, detail=exc.message, hint=exc.hint or "")


def _of_state_and_jobs(database: Database) -> Iterator[Check]:
    yield from _of_state(database)
    yield from _of_jobs(database)


def _of_state(database: Database) -> Iterator[Check]:
    yield _of_tables(database, "state tables", shared_state.COMPONENT, shared_state.migration_steps())


def _of_jobs(database: Database) -> Iterator[Check]:
    yield _of_tables(database, "job tables", jobs.COMPONENT, jobs.migration_steps())


def _of_tables(database: Database, name: str, component: str, steps: MigrationSteps) -> Check:
    from super_advanced_agents._runtime.postgres import Connection, TablesVersion, missing_relations, tables_version

    async def read(connection: Connection) -> tuple[TablesVersion, list[str]]:
        found = await tables_version(connection, database, component)
        taken = {number: step for number, step in steps.items() if number <= found.version}
        return found, await missing_relations(connection, database, taken)

    found, missing = run_sync(database.read(read))
    check = _tables(name, found.version, found.oldest, max(steps))
    if check.ok and missing:
        return replace(check, ok=False, detail=f"missing: {', '.join(missing[:3])}", hint=_RESTORE)
    return check


def _of_store(database: Database, settings: Settings) -> Iterator[Check]:
    from super_advanced_agents.stores.postgres.inspection import server_state, store_state
    from super_advanced_agents.stores.postgres.schema import NEWEST as NEWEST_STORE

    server = run_sync(server_state(database))
    yield Check(
        name="store database",
        ok=not server.read_only,
        detail=f"PostgreSQL {server.version} at {database.address.shown} "
        + ("only reads, such as a standby does" if server.read_only else "answers"),
        hint=_PRIMARY if server.read_only else "",
    )
    yield _pgvector(server)
    store = run_sync(store_state(database))
    if store is None:
        yield _tables("store tables", 0, 1, NEWEST_STORE)
        return
    yield _tables("store tables", store.version, store.oldest, NEWEST_STORE)
    yield from (_rows(store, settings), _expired(store), _dead(store, database), _indexes(store, database))
    yield from _models(store, settings)


def _tables(name: str, version: int, oldest: int, newest: int) -> Check:
    if version == 0:
        return Check(name=name, ok=True, detail="none; the first start makes them")
    if oldest > newest:
        return Check(name=name, ok=False, detail=f"version {version}, this program knows {newest}", hint=_UPGRADE)
    older = ", which the next start upgrades" if version < newest else ""
    newer = ", made by a newer program, which this one can use" if version > newest else ""
    return Check(name=name, ok=True, detail=f"version {version}{older}{newer}")


def _pgvector(server: ServerState) -> Check:
    from super_advanced_agents.stores.postgres.schema import MIN_PGVECTOR, version_numbers

    least = ".".join(map(str, MIN_PGVECTOR))
    if server.vector is None:
        there = server.vector_available is not None
        if there and server.may_create_vector and not server.read_only:
            return Check(name="pgvector", ok=True, detail="not there yet; the first start installs it")
        hint = "run as an administrator: CREATE EXTENSION vector"
        detail = "the database lacks the extension vector" + ("" if there else ", and the server has none to install")
        return Check(
            name="pgvector",
            ok=False,
            detail=detail,
            hint=hint if there else f"install pgvector {least} or newer; {hint}",
        )
    if version_numbers(server.vector) < MIN_PGVECTOR:
        hint = f"install {least} or newer, and run as an administrator: ALTER EXTENSION vector UPDATE"
        return Check(name="pgvector", ok=False, detail=f"version {server.vector} is too old", hint=hint)
    return Check(name="pgvector", ok=True, detail=f"version {server.vector}")


def _rows(store: StoreState, configured: Settings) -> Check:
    settings = store.settings
    if settings is None:
        hint = "restore a backup of the database"
        return Check(name="rows", ok=False, detail="the table of the store's settings is empty", hint=hint)
    parts = "" if settings.partitions in (None, 1) else f" in {settings.partitions} partitions"
    detail = (
        f"{store.rows} records{parts} of {store.namespaces} namespaces, {store.graphs} with a graph; "
        f"dim {settings.dim}, {settings.metric}, {settings.storage}"
    )
    wanted = model_dim(configured)
    if wanted not in (None, settings.dim):
        detail = f"{detail}, and {configured.embedding_model} makes vectors of {wanted} numbers"
        hint = "set SAA_EMBEDDING_MODEL to the model of the store, or name another schema with ?schema=NAME"
        return Check(name="rows", ok=False, detail=detail, hint=hint)
    return Check(name="rows", ok=True, detail=detail)


def _expired(store: StoreState) -> Check:
    if store.expired_s <= _SWEPT_AFTER_S:
        return Check(name="expired rows", ok=True, detail=f"{store.expired} that no answer has, to be removed")
    return Check(
        name="expired rows",
        ok=False,
        detail=f"{store.expired} are still there, the first for {store.expired_s / 60:.0f} minutes",
        hint="start a server, which removes them within minutes; if one runs, see its log for store.sweep_failed",
    )


def _dead(store: StoreState, database: Database) -> Check:
    detail = f"{store.dead} beside {store.live} in use, as PostgreSQL estimates"
    if store.dead < _DEAD_ROWS or store.dead < _DEAD_SHARE * (store.dead + store.live):
        return Check(name="dead rows", ok=True, detail=detail)
    hint = (
        f"see that autovacuum runs and no transaction stays open; then VACUUM ANALYZE {database.address.schema}.records"
    )
    return Check(name="dead rows", ok=False, detail=detail, hint=hint)


def _indexes(store: StoreState, database: Database) -> Check:
    schema = database.address.schema
    if store.invalid_indexes:
        name = store.invalid_indexes[0]
        return Check(
            name="indexes",
            ok=False,
            detail=f"{', '.join(store.invalid_indexes[:3])}: not valid, so that no search uses them",
            hint=f"DROP INDEX CONCURRENTLY {schema}.{name}; a server builds graphs anew"
            if name.startswith("records_graph_")
            else f"REINDEX INDEX CONCURRENTLY {schema}.{name}",
        )
    if store.missing_indexes:
        hint = "restore them from a backup's schema, or migrate into a new schema: saa migrate"
        return Check(name="indexes", ok=False, detail=f"missing: {', '.join(store.missing_indexes[:3])}", hint=hint)
    return Check(name="indexes", ok=True, detail="all are there and valid")


def _models(store: StoreState, settings: Settings) -> Iterator[Check]:
    if len(store.models) == 1:
        yield model_check(next(iter(store.models)), settings)
    elif store.models:
        counts = ", ".join(f"{model} in {n}" for model, n in sorted(store.models.items()))
        hint = "bring them to one model: saa reembed"
        yield Check(
            name="embedding model", ok=False, detail=f"several made the namespaces' vectors: {counts}", hint=hint
        )
