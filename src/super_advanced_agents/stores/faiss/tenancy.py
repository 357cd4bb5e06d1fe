"""One tenant's view of a store: the same rows, workers and indexes, and no record of anybody else."""

from __future__ import annotations

from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.stores.faiss.intake import Intake
from super_advanced_agents.stores.faiss.store import FAISSVectorStore
from super_advanced_agents.types import JSONValue


def tenant_view(store: FAISSVectorStore, tenant: str) -> VectorStore:
    """The store as `tenant` sees it: every operation stays within the tenant's namespaces, by construction.

    The tenant is put into each scope where requests are checked, before a filter is looked at, so that nothing a
    request says can name another one. Reads must name a namespace. Closing the view leaves the store open.

    Args:
        store: open.
        tenant: a name; that of the default tenant sees what was written without one.

    Raises:
        InvalidInputError: `tenant` is not a name.
    """
    return _TenantView(store, tenant)


class _TenantView(FAISSVectorStore):
    def __init__(self, store: FAISSVectorStore, tenant: str) -> None:
        self.__dict__.update(store.__dict__)  # the very same workers, rows and indexes
        self._whole = store
        self._intake = Intake(store.dim, store._metric, store.limits, tenant=tenant)

    async def astats(self) -> dict[str, JSONValue]:
        """What a tenant may know of the store: nothing about others."""
        stats = await super().astats()
        return {name: stats[name] for name in ("engine", "dim", "metric", "index")}

    def _check_open(self) -> None:
        self._whole._check_open()

    def _release(self) -> None:
        """Nothing to free: the workers are the store's."""
