"""Test the catalog in PostgreSQL: changes of one server are seen by the others, and names stay unique."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from super_advanced_agents.errors import CollectionExistsError, CollectionNotFoundError, InvalidInputError
from super_advanced_agents.tenancy.catalog import new_collection
from super_advanced_agents.tenancy.catalog.postgres import PostgresCatalog
from super_advanced_agents.tenancy.config_file import AgentSettings, Declared
from super_advanced_agents.tenancy.shared_state import SharedState


@pytest.fixture
def catalogs(postgres_schema_url):
    """Open the catalog at two servers."""
    with ExitStack() as stack:
        state = stack.enter_context(SharedState(postgres_schema_url))
        state.open()
        yield [
            stack.enter_context(PostgresCatalog(state, Declared(), max_collections=2, max_agents=2)) for _ in range(2)
        ]


def _collection(name, dim=4):
    return new_collection(name, dim, "cosine", "auto", "fp32")


async def _create(catalog, name, tenant="acme", **options):
    info = _collection(name, options.pop("dim", 4))
    return await catalog.acreate_collection(
        tenant, info, **{"exist_ok": False, "make_place": lambda _: None, **options}
    )


async def test_change_at_one_server_is_seen_at_another_after_a_refresh(catalogs):
    """Collections and agents are created, changed and deleted."""
    one, other = catalogs
    await _create(one, "notes")
    await one.aput_agent("acme", "guide", AgentSettings(description="first"))
    await other.arefresh()
    assert [info.name for info in other.collections("acme")] == ["notes"]
    assert other.collections("globex") == []
    assert other.agent_settings("acme", "guide").description == "first"
    await other.aput_agent("acme", "guide", AgentSettings(description="second"))
    await one.arefresh()
    assert one.agent_settings("acme", "guide").description == "second"
    entry = other.collection("acme", "notes")
    assert (await one.adelete_collection("acme", "notes")).id == entry.id
    assert await one.adelete_agent("acme", "guide")
    await other.arefresh()
    with pytest.raises(CollectionNotFoundError):
        other.collection("acme", "notes")
    assert not other.has_agent("acme", "guide")
    assert await asyncio.to_thread(other.deleted_collections) == [entry.id]
    await asyncio.to_thread(other.forget_deleted, entry.id)
    assert await asyncio.to_thread(one.deleted_collections) == []


async def test_collection_made_anew_has_another_identifier_at_every_server(catalogs):
    """What is written by the old identifier never reaches the new collection."""
    one, other = catalogs
    await _create(one, "notes")
    await other.arefresh()
    old = other.collection("acme", "notes").id
    await one.adelete_collection("acme", "notes")
    await _create(one, "notes", dim=8)
    await other.arefresh()
    assert other.collection("acme", "notes").id != old
    assert other.collection("acme", "notes").info.dim == 8


async def test_name_created_at_two_servers_at_once_is_created_once(catalogs):
    """The other one gets an error, or the same collection if it may exist."""
    outcomes = await asyncio.gather(*(_create(catalog, "notes") for catalog in catalogs), return_exceptions=True)
    assert sorted(isinstance(outcome, CollectionExistsError) for outcome in outcomes) == [False, True]
    outcomes = await asyncio.gather(*(_create(catalog, "more", exist_ok=True) for catalog in catalogs))
    assert outcomes[0] == outcomes[1]


async def test_limits_count_what_all_servers_created(catalogs):
    """A tenant cannot have more by asking another server."""
    one, other = catalogs
    await _create(one, "a")
    await _create(other, "b")
    with pytest.raises(InvalidInputError, match="max_collections"):
        await _create(one, "c")
    await _create(one, "c", tenant="globex")
    await one.aput_agent("acme", "a", AgentSettings())
    await other.aput_agent("acme", "b", AgentSettings())
    await one.aput_agent("acme", "b", AgentSettings())
    with pytest.raises(InvalidInputError, match="max_agents"):
        await one.aput_agent("acme", "c", AgentSettings())


async def test_concurrent_refreshes_each_see_what_was_acknowledged_before(catalogs):
    """They share statements, and none returns what an earlier one read."""
    one, other = catalogs

    async def check(number):
        await one.aput_agent("acme", "guide", AgentSettings(description=str(number)))
        await asyncio.gather(*(other.arefresh() for _ in range(20)))
        assert int(other.agent_settings("acme", "guide").description) >= number

    for number in range(20):
        await check(number)
