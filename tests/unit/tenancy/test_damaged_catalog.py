"""A catalog with damaged or crafted rows: they end in a sentence, name no path, and concern nobody else."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from super_advanced_agents.errors import CorruptStoreError
from super_advanced_agents.tenancy.config_file import AgentSettings
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.tenancy.settings import Settings
from super_advanced_agents.tenancy.workspace import Workspace


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Make a data folder with a collection and an agent."""

    async def fill() -> None:
        async with Runtime(Settings.load(data_dir=tmp_path / "data")) as runtime:
            await runtime.aopen()
            workspace = Workspace(runtime, "acme")
            await workspace.acreate_collection("good", dim=2)
            await workspace.acreate_collection("bad", dim=2)
            await workspace.aput_agent("good", AgentSettings(description="knows"))

    asyncio.run(fill())
    return tmp_path / "data"


def sql(data_dir: Path, statement: str) -> None:
    """Run a statement on the catalog."""
    with closing(sqlite3.connect(data_dir / "server" / "catalog.db")) as connection, connection:
        connection.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE collections SET id = '../../outside' WHERE name = 'bad'",
        "UPDATE collections SET dim = 'many' WHERE name = 'bad'",
        "UPDATE collections SET storage = CAST(x'ff' AS TEXT) WHERE name = 'bad'",
    ],
)
def test_damaged_collection_raises_and_the_others_work(
    data_dir: Path, statement: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The server starts; only the operations on the damaged collection fail, with a sentence."""
    (data_dir.parent / "outside").mkdir()
    sql(data_dir, statement)

    async def use() -> None:
        async with Runtime(Settings.load(data_dir=data_dir)) as runtime:
            await runtime.aopen()
            workspace = Workspace(runtime, "acme")
            assert [info.name for info in await workspace.acollections()] == ["good"]
            assert await (await workspace.acollection("good")).aadd([1, 0], uid="one") == "one"
            for operation in (
                workspace.acollection("bad"),
                workspace.acreate_collection("bad", dim=2),
                workspace.adelete_collection("bad"),
            ):
                with pytest.raises(CorruptStoreError, match="'bad' is damaged"):
                    await operation

    with caplog.at_level(logging.ERROR):
        asyncio.run(use())
    assert [record.message for record in caplog.records] == ["server.catalog_row_damaged"]
    assert not list((data_dir.parent / "outside").iterdir())


def test_damaged_settings_of_an_agent_can_be_set_again(data_dir: Path) -> None:
    """The defaults do not take their place, since they could name another namespace."""
    sql(data_dir, "INSERT INTO agents VALUES ('acme', 'bad', '{', 1.0)")

    async def use() -> None:
        async with Runtime(Settings.load(data_dir=data_dir)) as runtime:
            await runtime.aopen()
            workspace = Workspace(runtime, "acme")
            assert workspace.agent_settings("good").description == "knows"
            with pytest.raises(CorruptStoreError, match="set them again"):
                workspace.agent("bad")
            await workspace.aput_agent("bad", AgentSettings(description="again"))
            assert workspace.agent_settings("bad").description == "again"

    asyncio.run(use())
    sql(data_dir, "UPDATE agents SET settings = '[]' WHERE name = 'bad'")

    async def delete() -> None:
        async with Runtime(Settings.load(data_dir=data_dir)) as runtime:
            await runtime.aopen()
            assert await Workspace(runtime, "acme").adelete_agent("bad")
            assert Workspace(runtime, "acme").agent_settings("bad") == AgentSettings()

    asyncio.run(delete())


@pytest.mark.parametrize("deleted", ["../../victim", "..", "", "/", "victim", "A" * 32])
def test_pending_removals_never_lead_out_of_the_folder_of_collections(data_dir: Path, deleted: str) -> None:
    """The identifier of a deleted collection is checked before its folder is removed."""
    victims = [data_dir.parent / "victim", data_dir / "collections" / "victim"]
    for victim in victims:
        victim.mkdir()
        (victim / "a").write_text("precious")
    sql(data_dir, f"INSERT INTO deleted VALUES ('{deleted}')")

    async def use() -> None:
        async with Runtime(Settings.load(data_dir=data_dir)) as runtime:
            await runtime.aopen()
            assert await (await Workspace(runtime, "acme").acollection("good")).acount() == 0

    asyncio.run(use())
    assert [(victim / "a").read_text() for victim in victims] == ["precious", "precious"]


def test_collection_whose_folder_is_a_link_is_not_opened(data_dir: Path) -> None:
    """A link in a crafted data folder does not make the server write elsewhere."""
    elsewhere = data_dir.parent / "elsewhere"
    elsewhere.mkdir()
    for folder in (data_dir / "collections").iterdir():
        folder.rmdir()
        folder.symlink_to(elsewhere)

    async def use() -> None:
        async with Runtime(Settings.load(data_dir=data_dir)) as runtime:
            await runtime.aopen()
            with pytest.raises(CorruptStoreError, match="missing"):
                await (await Workspace(runtime, "acme").acollection("good")).aadd([1, 0])

    asyncio.run(use())
    assert not list(elsewhere.iterdir())
