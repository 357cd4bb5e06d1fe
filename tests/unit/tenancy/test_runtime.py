"""A `Runtime` opens and loads what the agents of one process share."""

from __future__ import annotations

import asyncio
from shutil import copytree

import pytest

from super_advanced_agents.config import DEFAULT_EMBEDDING_MODEL, DEFAULT_GENERATION_MODEL
from super_advanced_agents.errors import (
    ConfigurationError,
    InvalidInputError,
    ModelNotFoundError,
    ResourceClosedError,
    StoreLockedError,
)
from super_advanced_agents.models import default_models_dir
from super_advanced_agents.tenancy.runtime import Runtime, Stage
from super_advanced_agents.tenancy.settings import Settings


@pytest.fixture
def settings(tmp_path):
    return Settings.load(data_dir=tmp_path / "data")


def test_runtime_makes_no_folder_until_it_is_opened(settings):
    """Its agents need the open store."""
    with Runtime(settings) as runtime:
        assert not settings.data_dir.exists()
        with pytest.raises(ResourceClosedError, match="not open yet"):
            runtime.agent("default")
        runtime.open()
        assert settings.store_dir.is_dir()
        assert runtime.embedding is Stage.WAITING


async def test_data_folder_has_one_runtime_until_it_is_closed(settings):
    """A second runtime is refused, and a third one may have the folder afterwards."""
    async with Runtime(settings) as first:
        await first.aopen()
        async with Runtime(settings) as second:
            with pytest.raises(StoreLockedError):
                await second.aopen()
    async with Runtime(settings) as third:
        await third.aopen()


async def test_runtime_opens_the_store_at_the_url_of_its_settings(tmp_path):
    """The data folder holds the rest, and still has one owner."""
    settings = Settings.load(data_dir=tmp_path / "data", store=f"faiss:{tmp_path / 'shared'}")
    async with Runtime(settings) as runtime:
        await runtime.aopen()
        await runtime.agent("ann").aadd_text_memory("The Louvre is a museum")
        async with Runtime(Settings.load(data_dir=tmp_path / "data")) as second:
            with pytest.raises(StoreLockedError):
                await second.aopen()
    async with Runtime(settings) as runtime:
        await runtime.aopen()
        assert await runtime.agent("ann").acount() == 1
    assert (tmp_path / "shared" / "memory.sqlite3").is_file()


async def test_runtime_accepts_the_url_of_its_own_store_folder(tmp_path):
    """The folder must be locked only once."""
    settings = Settings.load(data_dir=tmp_path, store=f"faiss:{tmp_path / 'store'}")
    async with Runtime(settings) as runtime:
        await runtime.aopen()


async def test_runtime_refuses_a_store_url_with_an_unknown_scheme(tmp_path):
    """The folder is not locked afterwards, so another runtime can open it."""
    async with Runtime(Settings.load(data_dir=tmp_path, store="redis://host")) as runtime:
        with pytest.raises(ConfigurationError, match="redis:"):
            await runtime.aopen()
    async with Runtime(Settings.load(data_dir=tmp_path)) as runtime:
        await runtime.aopen()


async def test_load_makes_both_models_ready(settings):
    """Both are local, so nothing is downloaded."""
    async with Runtime(settings) as runtime:
        await runtime.aopen()
        await runtime.aload()
        assert (runtime.embedding, runtime.generation, runtime.reason) == (Stage.READY, Stage.READY, "")


async def test_load_reports_a_missing_language_model_without_raising(tmp_path):
    """Adding memories works without it, and answers quote them."""
    settings = Settings.load(data_dir=tmp_path / "data", generation_model=str(tmp_path / "none.gguf"))
    async with Runtime(settings) as runtime:
        await runtime.aopen()
        await runtime.aload()
        assert (runtime.embedding, runtime.generation) == (Stage.READY, Stage.FAILED)
        assert "none.gguf" in runtime.reason
        agent = runtime.agent("default")
        await agent.aadd_text_memory("The Louvre is a museum")
        assert (await agent.aask("Where?")).quoted


async def test_failed_download_of_the_language_model_is_retried_after_pauses(tmp_path, monkeypatch):
    """The pauses grow; everything else works meanwhile, and the state contains the reason."""
    for name, value in (("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", str(tmp_path)), ("PIP_CONFIG_FILE", "/dev/null")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # no source has anything
    models = tmp_path / "models"
    models.mkdir()
    (models / DEFAULT_EMBEDDING_MODEL).symlink_to(default_models_dir() / DEFAULT_EMBEDDING_MODEL)
    states = []

    async def pause(seconds):
        states.append((seconds, runtime.embedding, runtime.generation))
        assert "could not be fetched" in runtime.reason
        if len(states) == 3:
            await asyncio.to_thread(copytree, default_models_dir() / DEFAULT_GENERATION_MODEL, generation_model)

    generation_model = models / DEFAULT_GENERATION_MODEL
    async with Runtime(Settings.load(data_dir=tmp_path / "data", models_dir=models)) as runtime:
        await runtime.aopen()
        await runtime.akeep_loading(pause=pause)
        assert states == [(seconds, Stage.READY, Stage.FAILED) for seconds in (5.0, 10.0, 20.0)]
        assert (runtime.embedding, runtime.generation, runtime.reason) == (Stage.READY, Stage.READY, "")


async def test_open_raises_when_the_embedding_model_is_missing(tmp_path):
    """The store needs the length of its vectors."""
    settings = Settings.load(data_dir=tmp_path / "data", embedding_model=str(tmp_path / "none"))
    async with Runtime(settings) as runtime:
        with pytest.raises(ModelNotFoundError):
            await runtime.aopen()  # the store needs the length of the vectors


async def test_agents_of_one_runtime_see_only_their_own_memories(settings):
    """Agents are made on demand, by name."""
    async with Runtime(settings) as runtime:
        await runtime.aopen()
        await runtime.agent("ann").aadd_text_memory("The Louvre is a museum")
        assert await runtime.agent("ann").acount() == 1
        assert await runtime.agent("bob").acount() == 0
        with pytest.raises(InvalidInputError):
            runtime.agent("x\0")
