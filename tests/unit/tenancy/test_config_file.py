"""Agents and collections that a TOML file declares, and agents that are given settings by API."""

from __future__ import annotations

import pytest

from super_advanced_agents.errors import AgentNotFoundError, ConfigurationError, InvalidInputError
from super_advanced_agents.tenancy.config_file import AgentSettings, load_declared
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.tenancy.settings import Settings
from super_advanced_agents.tenancy.workspace import Workspace

DECLARED = """
[agents.travel]
description = "knows trains"
namespace = "trips"
answer_tokens = 300
rerank = true

[agents.private]
tenant = "ann"

[collections.products]
dim = 384
metric = "dot"

[collections.hers]
tenant = "ann"
dim = 8
"""


@pytest.fixture
def file(tmp_path):
    """A file to declare in."""
    file = tmp_path / "saa.toml"
    file.write_text(DECLARED)
    return file


async def test_what_is_declared_is_there(tmp_path, file):
    """For its tenant alone, before the first request, and again at the next start."""
    for _ in range(2):
        async with Runtime(Settings.load(data_dir=tmp_path / "data", config=file)) as runtime:
            await runtime.aopen()
            mine, ann = Workspace(runtime, "default"), Workspace(runtime, "ann")
            assert [info.name for info in await mine.acollections()] == ["products"]
            assert [info.name for info in await ann.acollections()] == ["hers"]
            [travel] = await mine.aagents()
            assert (travel.description, travel.namespace, travel.declared) == ("knows trains", "trips", True)
            assert [info.name for info in await ann.aagents()] == ["private"]
            agent = mine.agent("travel")
            assert (agent.name, agent.namespace) == ("travel", "trips")
            assert mine.agent("other").namespace == "other"


async def test_a_declared_agent_is_changed_in_the_file_alone(tmp_path, file):
    """Else the file would say what is not so."""
    async with Runtime(Settings.load(data_dir=tmp_path / "data", config=file)) as runtime:
        await runtime.aopen()
        mine = Workspace(runtime, "default")
        with pytest.raises(InvalidInputError, match="configuration file"):
            await mine.aput_agent("travel", AgentSettings())
        with pytest.raises(InvalidInputError, match="configuration file"):
            await mine.adelete_agent("travel")
        assert not (await mine.aput_agent("private", AgentSettings())).declared


async def test_a_collection_of_another_kind_is_told(tmp_path, file):
    """The file cannot change what is stored already."""
    settings = Settings.load(data_dir=tmp_path / "data", config=file)
    async with Runtime(settings) as runtime:
        await runtime.aopen()
    file.write_text("[collections.products]\ndim = 3\n")
    async with Runtime(settings) as runtime:
        with pytest.raises(ConfigurationError, match=r"saa.toml.*\[collections.products\].*384"):
            await runtime.aopen()
        file.write_text(DECLARED)
        await runtime.aopen()  # nothing was left open


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[agents.a]\nanswer_tokens = 0", r"\[agents.a\] answer_tokens: "),
        ("[agents.a]\nanswer_tokens = '5'", r"\[agents.a\] answer_tokens: "),
        ("[agents.a]\nnamespace = '../x'", r"\[agents.a\] namespace: .*is not a name"),
        ("[agents.a]\nanswer_token = 5", r"\[agents.a\] answer_token: "),
        ("[agents.'a b']", r"\[agents.a b\]: .*is not a name"),
        ("[agents.a]\ntenant = 5", r"\[agents.a\]: tenant "),
        ("[collections.c]", r"\[collections.c\] dim: "),
        ("[collections.c]\ndim = 3\nmetric = 'l2'", r"\[collections.c\] metric: "),
        ("[collections]\nc = 3", r"\[collections.c\] must be a table"),
        ("collections = 3", r"\[collections\] must hold tables"),
        ("[agent.a]", r"unknown table \[agent\]"),
        ("[agents.a", "is not TOML"),
    ],
)
def test_mistakes_are_told_by_table_and_key(tmp_path, content, told):
    """With the file's name."""
    file = tmp_path / "saa.toml"
    file.write_text(content)
    with pytest.raises(ConfigurationError, match=rf"saa.toml.*{told}"):
        load_declared(file)


@pytest.mark.parametrize("content", [None, b"\xff", b"#" * (1 << 20) + b"#"], ids=["missing", "not utf-8", "too long"])
def test_a_file_that_cannot_be_read_is_told(tmp_path, content):
    """By name."""
    file = tmp_path / "saa.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"saa.toml"):
        load_declared(file)


async def test_settings_given_by_api_last(tmp_path):
    """For their tenant alone; taken away, the agent has the defaults again, and its memories."""
    settings = Settings.load(data_dir=tmp_path, max_agents=1)
    given = AgentSettings(description="knows trains", namespace="trips", answer_tokens=5)
    async with Runtime(settings) as runtime:
        await runtime.aopen()
        mine = Workspace(runtime, "default")
        with pytest.raises(AgentNotFoundError):
            await mine.aagent_info("travel")
        await mine.aput_agent("travel", AgentSettings())
        info = await mine.aput_agent("travel", given)
        with pytest.raises(InvalidInputError, match="max_agents"):
            await mine.aput_agent("another", given)
        with pytest.raises(InvalidInputError, match="not a name"):
            await mine.aput_agent("../x", given)
    async with Runtime(settings) as runtime:
        await runtime.aopen()
        mine = Workspace(runtime, "default")
        assert await mine.aagents() == [info] == [await mine.aagent_info("travel")]
        assert mine.agent("travel").namespace == "trips"
        assert await Workspace(runtime, "ann").aagents() == []
        assert Workspace(runtime, "ann").agent("travel").namespace == "travel"
        assert await mine.adelete_agent("travel")
        assert not await mine.adelete_agent("travel")
        assert mine.agent("travel").namespace == "travel"
