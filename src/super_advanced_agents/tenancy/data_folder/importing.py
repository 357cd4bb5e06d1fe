"""Import of an export into a data folder: each record and setting goes back to its tenant."""

from __future__ import annotations

import math
from contextlib import ExitStack
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents.config import CATALOG_FILE, COLLECTIONS_FOLDER, checked_agent_name, checked_name
from super_advanced_agents.errors import (
    CollectionExistsError,
    CollectionNotFoundError,
    CorruptStoreError,
    InvalidInputError,
)
from super_advanced_agents.stores import VectorStore
from super_advanced_agents.stores.transfer.layout import Header, Item, Part
from super_advanced_agents.stores.wrappers.tenant_view import tenant_view
from super_advanced_agents.tenancy.catalog import Catalog, SQLiteCatalog
from super_advanced_agents.tenancy.collection_pool import Collections
from super_advanced_agents.tenancy.config_file import AgentSettings, CollectionSettings, Declared
from super_advanced_agents.tenancy.settings import Settings
from super_advanced_agents.tenancy.store_wrappers import CollectionStore
from super_advanced_agents.types import CollectionInfo

M = TypeVar("M", bound=BaseModel)

_MAX_OPEN = 4


class DataFolderTargets:
    """The stores of a data folder, as the places that the parts of an export are imported to.

    The caller holds the lock of the data folder, by its open store.

    Args:
        settings: the settings that name the data folder.
        store: the open store of memories.
        stack: closes what is opened on demand.
        header: the header of the export.
        tenant: the tenant that gets everything; each record's own when None.
        from_tenant: the only tenant in the export that is imported; all of them when None.
        namespace: the namespace that all memories get; each record's own when None.

    Attributes:
        agents: the number of agents whose settings were stored.
        collections: the number of collections that were created or filled.

    Raises:
        InvalidInputError: the data of several tenants would become that of one.
    """

    def __init__(
        self,
        settings: Settings,
        store: VectorStore,
        stack: ExitStack,
        header: Header,
        *,
        tenant: str | None,
        from_tenant: str | None,
        namespace: str | None,
    ) -> None:
        for name, value in (("--tenant", tenant), ("--from-tenant", from_tenant)):
            if value is not None:
                checked_name(value, name)
        if tenant is not None and from_tenant is None and header.tenant is None:
            raise InvalidInputError(
                "the export holds several tenants, whose data would become that of one",
                field="--tenant",
                hint="choose one of them with --from-tenant, or leave --tenant out: each record then keeps its own",
            )
        self._settings = settings
        self._store = store
        self._stack = stack
        self._tenant = tenant
        self._from_tenant = from_tenant
        self._namespace = namespace
        self._views: dict[str, VectorStore] = {}
        self._opened: tuple[Catalog, Collections] | None = None
        self._named: dict[Part, VectorStore] = {}
        self.agents = 0
        self.collections = 0

    async def store_of(self, part: Part) -> VectorStore | str:
        """Return the store for the records of a part, or the reason why these are left out.

        Raises:
            InvalidInputError: the export does not hold the settings of the collection, or they could not be stored.
        """
        if not self._is_wanted(part):
            return "of other tenants"
        if part.collection is None:
            tenant = self._tenant or part.tenant
            return self._views.setdefault(tenant, tenant_view(self._store, tenant))
        if self._namespace is not None:
            return "of collections"
        store = self._named.get(part)
        if store is None:
            raise InvalidInputError("its collection was not imported", field="collection")
        return store

    async def apply(self, item: Item, part: Part) -> str:
        """Store the settings of an agent or a collection; return why they are left out, or "".

        Raises:
            InvalidInputError: the settings are not valid, or the tenant cannot have more of them.
        """
        if not self._is_wanted(part):
            return "of other tenants"
        if self._namespace is not None:
            return "settings"
        values = dict(item)
        kind, name = values.pop("kind"), values.pop("name", None)
        tenant = self._tenant or part.tenant
        if kind == "agent":
            await self._apply_agent(tenant, checked_agent_name(name, "name"), values)
        elif kind == "collection":
            await self._apply_collection(tenant, checked_name(name, "name"), values, part)
        else:
            raise InvalidInputError("it is of an unknown kind", field="kind")
        return ""

    async def _apply_agent(self, tenant: str, name: str, values: dict[str, Any]) -> None:
        updated_at = _time(values.pop("updated_at", None))
        settings = _validated(AgentSettings, values.pop("settings", None))
        if values:
            raise InvalidInputError(f"it has the unknown member {min(values)!r}", field="settings")
        catalog, _ = await self._open()
        await catalog.aput_agent(tenant, name, settings, updated_at=updated_at)
        self.agents += 1

    async def _apply_collection(self, tenant: str, name: str, values: dict[str, Any], part: Part) -> None:
        created_at = _time(values.pop("created_at", None))
        settings = _validated(CollectionSettings, values)
        catalog, collections = await self._open()
        info = CollectionInfo(name=name, created_at=created_at, **settings.model_dump())
        try:
            await collections.acreate(tenant, info, exist_ok=True)
            entry = catalog.collection(tenant, name)
        except (CollectionExistsError, CollectionNotFoundError, CorruptStoreError) as exc:
            raise InvalidInputError(exc.message, field="collection") from exc
        self._named[Part(tenant=part.tenant, collection=name)] = CollectionStore(collections, tenant, entry)
        self.collections += 1

    async def _open(self) -> tuple[Catalog, Collections]:
        if self._opened is None:
            self._opened = await in_thread(self._open_catalog, name="import")
        return self._opened

    def _open_catalog(self) -> tuple[Catalog, Collections]:
        settings = self._settings
        catalog = self._stack.enter_context(
            SQLiteCatalog(
                settings.data_dir / CATALOG_FILE,
                Declared(),
                max_collections=settings.max_collections,
                max_agents=settings.max_agents,
            )
        )
        folder = settings.data_dir / COLLECTIONS_FOLDER
        return catalog, self._stack.enter_context(Collections(catalog, folder, max_open=_MAX_OPEN))

    def _is_wanted(self, part: Part) -> bool:
        return self._from_tenant in (None, part.tenant)


def _validated(model: type[M], values: object) -> M:
    try:
        return model.model_validate(values)
    except ValidationError as exc:
        location = ".".join(map(str, exc.errors(include_url=False)[0]["loc"]))[:64]
        raise InvalidInputError(f"its settings are not valid: {location}", field="settings") from exc


def _time(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidInputError("its time is not a number", field="time")
    return float(value)
