"""`TenantView`: a store that shows one tenant's records of a store shared by many tenants."""

from __future__ import annotations

from typing import TypeVar, cast

from super_advanced_agents.config import DEFAULT_TENANT, checked_name
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.stores.requests import AddRequest, PutRequest, Request, StatsRequest, UpdateRequest
from super_advanced_agents.stores.wrappers.base import StoreWrapper

R = TypeVar("R")

_NEED_NO_NAMESPACE = (AddRequest, PutRequest, UpdateRequest, StatsRequest)
_VISIBLE_STATS = ("engine", "dim", "metric", "index")


class TenantView(StoreWrapper):
    """Wrap a store that many tenants share, and give access to the records of one tenant only.

    The view sets the tenant of each request after the request was made, and no argument of a caller reaches that
    field. Search, get, count, scan and delete must name a namespace, except for the default tenant. Closing the view
    leaves the store open.

    Args:
        store: an open store, shared by any number of tenants.
        tenant: the tenant's name; the default tenant sees the records that were written without a tenant.

    Raises:
        InvalidInputError: `tenant` is not a valid name.
    """

    def __init__(self, store: VectorStore, tenant: str) -> None:
        super().__init__(store)
        self._tenant = "" if tenant == DEFAULT_TENANT else checked_name(tenant, "tenant")

    async def _execute(self, request: Request[R]) -> R:
        if not isinstance(request, _NEED_NO_NAMESPACE):
            self._check_namespace(request.namespace)  # type: ignore[attr-defined]  # every other request has one
        result = await self._store.aexecute(request.replaced(tenant=self._tenant))
        if isinstance(request, StatsRequest):  # the other statistics are about all tenants
            stats = cast("dict[str, object]", result)
            return cast("R", {name: stats[name] for name in _VISIBLE_STATS if name in stats})
        return result

    def _version(self, tenant: str, namespace: str | None) -> int | None:
        del tenant  # in a view of a view, the inner view's tenant counts
        self._check_namespace(namespace)
        return self._store._version(self._tenant, namespace)

    async def _aversion(self, tenant: str, namespace: str | None) -> int | None:
        del tenant  # in a view of a view, the inner view's tenant counts
        self._check_namespace(namespace)
        return await self._store._aversion(self._tenant, namespace)

    async def _anamespaces(self, tenant: str, limit: int) -> list[str] | None:
        del tenant  # in a view of a view, the inner view's tenant counts
        return await self._store._anamespaces(self._tenant, limit)

    async def _atenants(self) -> list[str] | None:
        return None  # a view of one tenant does not name the others

    def _check_open(self) -> None:
        self._store._check_open()  # a view owns nothing, so it is open as long as its store is

    def _check_namespace(self, namespace: str | None) -> None:
        if self._tenant and namespace is None:
            raise InvalidInputError("a tenant's view needs a namespace", field="namespace", hint="name one")


def tenant_view(store: VectorStore, tenant: str) -> VectorStore:
    """Return a wrapper of a shared store that reads and writes only one tenant's records."""
    return TenantView(store, tenant)
