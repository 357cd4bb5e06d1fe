"""`StoreWrapper`: the base class of stores that pass requests on to another store."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from super_advanced_agents.config import Limits
from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.stores.requests import Bounds

Value = TypeVar("Value")


class StoreWrapper(VectorStore):
    """Pass everything but requests on to another store; a subclass overrides what it changes.

    Closing the wrapper leaves the store open.

    Args:
        store: the open store.
    """

    def __init__(self, store: VectorStore) -> None:
        super().__init__()
        self._store = store

    @property
    def dim(self) -> int:
        """The dimension of the store's vectors."""
        return self._store.dim

    @property
    def limits(self) -> Limits:
        """The size limits for the arguments of one call, such as records per batch or bytes of text."""
        return self._store.limits

    def check_files(self) -> None:
        """Raise if a file of the store was removed, replaced, emptied or cut by others."""
        self._store.check_files()

    async def _abounds(self) -> Bounds:
        return await self._store._abounds()

    def _version(self, tenant: str, namespace: str | None) -> int | None:
        return self._store._version(tenant, namespace)

    async def _aversion(self, tenant: str, namespace: str | None) -> int | None:
        return await self._store._aversion(tenant, namespace)

    async def _anamespaces(self, tenant: str, limit: int) -> list[str] | None:
        return await self._store._anamespaces(tenant, limit)

    async def _atenants(self) -> list[str] | None:
        return await self._store._atenants()

    async def acompute(self, work: Callable[[], Value], size: int) -> Value:
        """Run a computation as the wrapped store does: in its thread when `size` is large."""
        return await self._store.acompute(work, size)
