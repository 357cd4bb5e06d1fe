"""Agents and collections are declared in a TOML file, and agents also get settings through the API."""

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
    """Return a configuration file with the declarations."""
    file = tmp_path / "saa.toml"
    file.write_text(DECLARED)
    return file


async def test_declared_agents_and_collections_exist_from_the_start(tmp_path, file):
    """They belong to their tenant alone, and a second start finds them again."""
    for _ in range(2):
        async with Runtime(Settings.load(data_dir=tmp_path / "data", config=file)) as runtime:
            await runtime.aopen()
            workspace, ann = Workspace(runtime, "default"), Workspace(runtime, "ann")
            assert [info.name for info in await workspace.acollections()] == ["products"]
            assert [info.name for info in await ann.acollections()] == ["hers"]
            [travel] = await workspace.aagents()
            assert (travel.description, travel.namespace, travel.declared) == ("knows trains", "trips", True)
            assert [info.name for info in await ann.aagents()] == ["private"]
            agent = workspace.agent("travel")
            assert (agent.name, agent.namespace) == ("travel", "trips")
            assert workspace.agent("other").namespace == "other"


async def test_declared_agent_cannot_be_changed_through_the_api(tmp_path, file):
    """The file would no longer be true otherwise."""
    async with Runtime(Settings.load(data_dir=tmp_path / "data", config=file)) as runtime:
        await runtime.aopen()
        workspace = Workspace(runtime, "default")
        with pytest.raises(InvalidInputError, match="configuration file"):
            await workspace.aput_agent("travel", AgentSettings())
        with pytest.raises(InvalidInputError, match="configuration file"):
            await workspace.adelete_agent("travel")
        assert not (await workspace.aput_agent("private", AgentSettings())).declared


async def test_declared_collection_that_differs_from_the_stored_one_is_refused(tmp_path, file):
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
    ("content", "message"),
    [
        ("[agents.a]\nanswer_tokens = 0", r"\[agents.a\] answer_tokens: "),
        ("[agents.a]\nanswer_tokens = '5'", r"\[agents.a\] answer_tokens: "),
        ("[agents.a]\nnamespace = ''", r"\[agents.a\] namespace: .*has 0 characters"),
        ("[agents.a]\nanswer_token = 5", r"\[agents.a\] answer_token: "),
        ('[agents."a\\tb"]', "holds a control character"),
        ("[collections.'a b']", r"\[collections.a b\]: .*is not a name"),
        ("[agents.a]\ntenant = 5", r"\[agents.a\]: tenant "),
        ("[collections.c]", r"\[collections.c\] dim: "),
        ("[collections.c]\ndim = 3\nmetric = 'l2'", r"\[collections.c\] metric: "),
        ("[collections]\nc = 3", r"\[collections.c\] must be a table"),
        ("collections = 3", r"\[collections\] must hold tables"),
        ("[agent.a]", r"unknown table \[agent\]"),
        ("[agents.a", "is not TOML"),
    ],
)
def test_mistake_in_the_config_file_is_refused_with_file_table_and_key(tmp_path, content, message):
    """The message leads the reader to the line."""
    file = tmp_path / "saa.toml"
    file.write_text(content)
    with pytest.raises(ConfigurationError, match=rf"saa.toml.*{message}"):
        load_declared(file)


@pytest.mark.parametrize("content", [None, b"\xff", b"#" * (1 << 20) + b"#"], ids=["missing", "not utf-8", "too long"])
def test_unreadable_config_file_is_refused_with_its_name(tmp_path, content):
    """A missing file, one that is not UTF-8, and one that is too long are refused alike."""
    file = tmp_path / "saa.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"saa.toml"):
        load_declared(file)


async def test_agent_settings_from_the_api_survive_a_restart(tmp_path):
    """They count for one tenant; an agent whose settings are deleted has the defaults again."""
    settings = Settings.load(data_dir=tmp_path, max_agents=1)
    given = AgentSettings(description="knows trains", namespace="trips", answer_tokens=5)
    async with Runtime(settings) as runtime:
        await runtime.aopen()
        workspace = Workspace(runtime, "default")
        with pytest.raises(AgentNotFoundError):
            await workspace.aagent_info("travel")
        await workspace.aput_agent("travel", AgentSettings())
        info = await workspace.aput_agent("travel", given)
        with pytest.raises(InvalidInputError, match="max_agents"):
            await workspace.aput_agent("another", given)
        with pytest.raises(InvalidInputError, match="a control character"):
            await workspace.aput_agent("x\0", given)
    async with Runtime(settings) as runtime:
        await runtime.aopen()
        workspace = Workspace(runtime, "default")
        assert await workspace.aagents() == [info] == [await workspace.aagent_info("travel")]
        assert workspace.agent("travel").namespace == "trips"
        assert await Workspace(runtime, "ann").aagents() == []
        assert Workspace(runtime, "ann").agent("travel").namespace == "travel"
        assert await workspace.adelete_agent("travel")
        assert not await workspace.adelete_agent("travel")
        assert workspace.agent("travel").namespace == "travel"
