"""Test how tenants share the pool of open collections: whose are closed, and whose are opened first."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack

import pytest

from super_advanced_agents.errors import OverloadedError
from super_advanced_agents.stores.opening import open_store
from super_advanced_agents.tenancy import collection_places
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.tenancy.settings import Settings
from super_advanced_agents.tenancy.workspace import Workspace


def _settings(folder, **given):
    return Settings.load(data_dir=folder, embedding_model="all-MiniLM-L6-v2", **given)


async def _create(runtime, tenant, count):
    names = [f"notes-{number}" for number in range(count)]
    for name in names:
        await Workspace(runtime, tenant).acreate_collection(name, dim=3)
    return names


def _using(runtime, tenant, name):
    return runtime.collections.using(tenant, runtime.catalog.collection(tenant, name))


async def _count(runtime, tenant, name):
    async with _using(runtime, tenant, name) as store:
        return await store.acount()


def _open(runtime, tenant, names):
    return [
        name
        for name in names
        if runtime.collections.version(runtime.catalog.collection(tenant, name), None) is not None
    ]


async def test_tenant_that_opens_many_collections_closes_only_its_own(tmp_path):
    """The few collections of another tenant stay open, though they were used longest ago."""
    async with Runtime(_settings(tmp_path, max_open_collections=8)) as runtime:
        await runtime.aopen()
        quiet = await _create(runtime, "quiet", 2)
        many = await _create(runtime, "hostile", 20)
        for name in quiet:
            await _count(runtime, "quiet", name)
        for _ in range(2):
            await asyncio.gather(*(_count(runtime, "hostile", name) for name in many))
        assert _open(runtime, "quiet", quiet) == quiet
        assert len(_open(runtime, "hostile", many)) <= 6


async def test_tenant_with_few_collections_gets_the_room_of_the_one_with_the_most(tmp_path):
    """The least recently used collection of that tenant is closed, and no other tenant's."""
    async with Runtime(_settings(tmp_path, max_open_collections=8)) as runtime:
        await runtime.aopen()
        many, quiet, late = [await _create(runtime, tenant, 6) for tenant in ("hostile", "quiet", "late")]
        for tenant, names in (("quiet", quiet[:2]), ("hostile", many), ("late", late[:1])):
            for name in names:
                await _count(runtime, tenant, name)
        assert _open(runtime, "quiet", quiet) == quiet[:2]
        assert _open(runtime, "hostile", many) == many[1:]
        assert _open(runtime, "late", late) == late[:1]


async def test_collections_that_one_tenant_keeps_in_use_leave_room_for_another(tmp_path):
    """A tenant is refused beyond three quarters of the pool, and the other one is served."""
    async with Runtime(_settings(tmp_path, max_open_collections=8)) as runtime:
        await runtime.aopen()
        many, late = await _create(runtime, "hostile", 7), await _create(runtime, "late", 2)
        async with AsyncExitStack() as stack:
            for name in many[:6]:
                await stack.enter_async_context(_using(runtime, "hostile", name))
            for name in late:
                await stack.enter_async_context(_using(runtime, "late", name))
            with pytest.raises(OverloadedError):
                await _count(runtime, "hostile", many[6])


async def test_collection_is_opened_beside_slow_ones_of_another_tenant(tmp_path, monkeypatch):
    """However many of the other tenant's wait to be opened, a thread is free."""
    may_open = threading.Event()
    slow = set()

    def open_slowly(url, **options):
        if any(folder in str(url) for folder in slow):
            may_open.wait(60)
        return open_store(url, **options)

    monkeypatch.setattr(collection_places, "open_store", open_slowly)
    async with Runtime(_settings(tmp_path)) as runtime:
        await runtime.aopen()
        many, late = await _create(runtime, "hostile", 12), await _create(runtime, "late", 1)
        slow.update(runtime.catalog.collection("hostile", name).id for name in many)
        opening = [asyncio.create_task(_count(runtime, "hostile", name)) for name in many]
        await asyncio.sleep(0)  # lets all calls begin to wait
        try:
            assert await _count(runtime, "late", late[0]) == 0
        finally:
            may_open.set()
        assert await asyncio.gather(*opening) == [0] * 12
