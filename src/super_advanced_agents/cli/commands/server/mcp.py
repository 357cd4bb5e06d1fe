"""The command `saa mcp`: an MCP server on standard input and output, for one agent's memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from super_advanced_agents.cli.options import AGENT, AgentName, DataDir, ModelsDir
from super_advanced_agents.cli.output import print_result, report_errors
from super_advanced_agents.cli.recording import recorded_expiries

if TYPE_CHECKING:
    from super_advanced_agents.tenancy.runtime import Runtime


@report_errors
def mcp(
    *,
    url: Annotated[
        str | None,
        typer.Option(
            "--url", envvar="SAA_URL", help="The URL of a running server; the data folder is used if not given."
        ),
    ] = None,
    api_key: Annotated[
        str | None, typer.Option("--api-key", envvar="SAA_API_KEY", help="The server's API key; safer in SAA_API_KEY.")
    ] = None,
    configuration: Annotated[
        bool, typer.Option("--configuration", help="Print the configuration of an MCP client, and exit.")
    ] = False,
    data_dir: DataDir,
    models_dir: ModelsDir = None,
    agent: AgentName = AGENT,
) -> None:
    """Serve an agent's memory (its stored texts) to an MCP client.

    The client speaks over standard input and output; closing them ends the command.
    """
    import asyncio
    import signal

    if configuration:
        from super_advanced_agents.server.mcp.configuration import program_configuration

        print_result(program_configuration(url, data_dir=data_dir, agent=agent))
        return
    from super_advanced_agents.server.logs import configure_logging

    configure_logging("WARNING")
    # Nothing can interrupt the thread that reads standard input; acknowledged writes are durable already.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if url is not None:
        asyncio.run(_remote(url, api_key, agent))
        return
    with recorded_expiries(data_dir):
        asyncio.run(_local(data_dir, models_dir, agent))


async def _remote(url: str, api_key: str | None, agent: str) -> None:
    from super_advanced_agents.client import RemoteAgent
    from super_advanced_agents.server.mcp.stdio import aserve_stdio

    async with RemoteAgent(url, agent, api_key=api_key) as remote:
        await aserve_stdio(remote)


async def _local(data_dir: Path, models_dir: Path | None, agent: str) -> None:
    import asyncio

    from super_advanced_agents._runtime.concurrency.futures import in_thread
    from super_advanced_agents.cli.waiting import when_free
    from super_advanced_agents.config import DEFAULT_TENANT
    from super_advanced_agents.server.mcp.stdio import aserve_stdio
    from super_advanced_agents.tenancy.runtime import Runtime
    from super_advanced_agents.tenancy.settings import Settings
    from super_advanced_agents.tenancy.workspace import Workspace

    settings = await in_thread(
        lambda: Settings.load_for_folder(data_dir=data_dir, models_dir=models_dir, agent=agent), name="load settings"
    )
    async with Runtime(settings) as runtime:
        await in_thread(lambda: when_free(settings.data_dir, runtime.open), name="open store")
        warming = asyncio.create_task(_warm(runtime), name="load models")
        try:
            await aserve_stdio(Workspace(runtime, DEFAULT_TENANT).agent(settings.agent))
        finally:
            warming.cancel()
            await asyncio.gather(warming, return_exceptions=True)


async def _warm(runtime: Runtime) -> None:
    # Runs beside the server so that the first request need not wait for models; errors are only logged.
    from super_advanced_agents._runtime.concurrency.futures import in_thread
    from super_advanced_agents.errors import SuperAdvancedAgentsError
    from super_advanced_agents.telemetry import get_logger
    from super_advanced_agents.tenancy.model_loading import fetch_models

    settings = runtime.settings
    try:
        await in_thread(lambda: fetch_models(settings, embedding=True), name="pull")
        await runtime.pipeline.aembed("ready")
        await in_thread(lambda: fetch_models(settings, generation=True), name="pull")
    except SuperAdvancedAgentsError as exc:
        get_logger("server").warning("server.not_ready", extra={"reason": str(exc)})
