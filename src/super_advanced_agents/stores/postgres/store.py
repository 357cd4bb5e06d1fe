"""`PgVectorStore`, a store in PostgreSQL with pgvector, which any number of processes share."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar, cast, get_args

from super_advanced_agents.config import DEFAULT_TENANT, LIMITS, Limits
from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.stores.options import Metric, check_choice, check_integer
from super_advanced_agents.stores.predicates import search_by_predicate
from super_advanced_agents.stores.requests import AddRequest, PredicateSearchRequest, PutRequest, Request, StatsRequest
from super_advanced_agents.stores.validation import bounded_rows, nonzero_rows
from super_advanced_agents.stores.wrappers.tenant_view import tenant_view
from super_advanced_agents.types import JSONValue, Matrix

if TYPE_CHECKING:
    from super_advanced_agents.stores.postgres.codecs import PgStorage
    from super_advanced_agents.stores.postgres.engine import Engine

R = TypeVar("R")

GRAPH_ROWS = 20_000
"""The records from which a namespace gets a graph.

Comparing all of them one by one takes 10 to 20 ms.
"""
_STORAGES = ("vector", "halfvec")
_MAX_DIM = 16_000
_ENGINE = "super_advanced_agents.stores.postgres.engine"


class PgVectorStore(VectorStore):
    """Store vectors and metadata in PostgreSQL, beside any number of other processes.

    The tables are created by the first operation, in a schema of their own. The role needs no superuser rights: an
    administrator creates the extension `vector` (pgvector 0.8 or newer), or lets the role do it. No session state is
    used, so pgbouncer may pool transactions.

    Args:
        url: `"postgresql://user@host:5432/database"`, as libpq reads it, with `?schema=name` (`"saa"` without one) for
            several stores in one database. `?partitions=16` gives a new store its large tables in 16 partitions
            (1 to 1,024). A password may stand in it or, better, in `~/.pgpass`; nothing shows it.
        dim: the length of every vector, 1 to 16,000. Vectors of more than 2,000 numbers (4,000 as `"halfvec"`) are
            always searched exactly.
        metric: `"cosine"` (scores in [-1, 1]), or `"dot"` for vectors whose length carries meaning.
        storage: `"vector"` takes four bytes a number; `"halfvec"` two, and returns the shortened vectors.
        limits: the limits of one call's arguments.
        graph_rows: the records from which a namespace gets a graph (HNSW), in the background; smaller ones are searched
            exactly. None for never.
        connections: the most connections of this process to the database; stores with one URL share them.

    Raises:
        ConfigurationError: an argument is invalid, or psycopg is not installed. The first operation raises it when the
            store was made with other settings, the password is wrong or pgvector is missing.

    An operation raises `EngineUnavailableError` while the database cannot be reached. A write returns after its commit.
    """

    def __init__(
        self,
        url: str,
        dim: int,
        *,
        metric: Metric = "cosine",
        storage: PgStorage = "vector",
        limits: Limits | None = None,
        graph_rows: int | None = GRAPH_ROWS,
        connections: int = 8,
    ) -> None:
        self._limits = limits or LIMITS
        most = min(_MAX_DIM, self._limits.dim)
        check_integer("dim", dim, 1, most)
        check_choice("metric", metric, get_args(Metric))
        check_choice("storage", storage, _STORAGES)
        check_integer("connections", connections, 1, 1_000)
        if graph_rows is not None and (type(graph_rows) is not int or graph_rows < 1):
            raise ConfigurationError(f"graph_rows must be a positive integer or None, not {graph_rows!r}")
        self._dim, self._metric, self._storage = dim, metric, storage
        self._graph_rows = graph_rows
        self.load_driver()
        from super_advanced_agents._runtime.postgres import Database, PostgresAddress

        self._database = Database(PostgresAddress.parse(url), connections=connections)
        self._check_rows = nonzero_rows if metric == "cosine" else bounded_rows
        self._engine: Engine | None = None
        super().__init__()

    @staticmethod
    def load_driver() -> None:
        """Raise `ConfigurationError` if psycopg is not installed."""
        try:
            import_module(_ENGINE)
        except ImportError as exc:
            raise ConfigurationError(
                "a store in PostgreSQL needs psycopg, which is not installed",
                hint="install it with: pip install 'super-advanced-agents[postgres]'",
            ) from exc

    @property
    def dim(self) -> int:
        """The length of every vector."""
        return self._dim

    @property
    def limits(self) -> Limits:
        """The limits that the arguments of one call must meet."""
        return self._limits

    async def _execute(self, request: Request[R]) -> R:
        match request:
            case AddRequest():
                return cast("R", await self._add(request))
            case PutRequest():
                return cast("R", await self._put(request))
            case PredicateSearchRequest():
                self._check_vectors(request.query_vector[None], "query_vector")
                view = tenant_view(self, request.tenant or DEFAULT_TENANT)
                return cast("R", await search_by_predicate(view, request, self._metric))
            case StatsRequest():
                return cast("R", await self._stats())
        for name in ("query_vectors", "query_vector", "vector"):
            if (vectors := getattr(request, name, None)) is not None:
                self._check_vectors(vectors.reshape(-1, self._dim), name)
        return cast("R", await (await self._opened()).execute(request))

    async def _opened(self) -> Engine:
        if self._engine is None:
            engine: type[Engine] = import_module(_ENGINE).Engine
            settings = import_module("super_advanced_agents.stores.postgres.schema").StoreSettings(
                dim=self._dim,
                metric=self._metric,
                storage=self._storage,
                partitions=self._database.address.partitions,
            )
            # Callers that come at once may each check the tables, which changes nothing.
            opened = await engine.open(self._database, settings, self._limits, self._graph_rows)
            self._engine = self._engine or opened
        return self._engine

    async def _add(self, request: AddRequest) -> list[str]:
        if not len(request.vectors):
            return []
        self._check_vectors(request.vectors, "vectors")
        of_add = import_module("super_advanced_agents.stores.postgres.writing.batches").of_add
        batch = await self.acompute(partial(of_add, request), len(request.vectors))
        return await (await self._opened()).add(request, batch)

    async def _put(self, request: PutRequest) -> int:
        if not request.records:
            return 0
        self._check_vectors(request.vectors, "records")
        of_put = import_module("super_advanced_agents.stores.postgres.writing.batches").of_put
        batches = await self.acompute(partial(of_put, request), len(request.records))
        return await (await self._opened()).put(request, batches)

    def _check_vectors(self, vectors: Matrix, field: str) -> None:
        self._check_rows(vectors, field=field)

    async def _aversion(self, tenant: str, namespace: str | None) -> int | None:
        return await (await self._opened()).version(tenant, namespace)

    async def _anamespaces(self, tenant: str, limit: int) -> list[str] | None:
        return await (await self._opened()).namespaces(tenant, limit)

    async def _atenants(self) -> list[str]:
        return sorted(name or DEFAULT_TENANT for name in await (await self._opened()).tenants())

    async def _stats(self) -> dict[str, JSONValue]:
        own: dict[str, JSONValue] = {
            "engine": "postgres",
            "dim": self._dim,
            "metric": self._metric,
            "index": "auto",
            "storage": self._storage,
        }
        return {**own, **await (await self._opened()).stats()}

    def _release(self) -> None:
        try:
            if self._engine is not None:
                self._database.stop(self._engine.graphs.stop)
            self._database.close()
        finally:
            super()._release()
