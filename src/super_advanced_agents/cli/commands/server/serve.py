"""The command `saa serve`, which serves agents over REST and gRPC."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from super_advanced_agents.cli.options import AGENT, AgentName, AsJson, DataDir, ModelsDir
from super_advanced_agents.cli.output import print_json, print_note, report_errors

if TYPE_CHECKING:
    from super_advanced_agents.client import RemoteAgent
    from super_advanced_agents.server.main import ServerAddresses
    from super_advanced_agents.tenancy.settings import Settings


@report_errors
def serve(
    *,
    host: Annotated[
        str,
        typer.Option("--host", envvar="SAA_HOST", help="The address to listen on; other than loopback only with keys."),
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            "--port", "-p", envvar="SAA_PORT", min=0, max=65_535, help="The port of REST; 0 lets the system choose."
        ),
    ] = 8000,
    grpc_port: Annotated[
        int | None,
        typer.Option(
            "--grpc-port", envvar="SAA_GRPC_PORT", min=0, max=65_535, help="The port of gRPC.", show_default="50051"
        ),
    ] = None,
    grpc: Annotated[bool, typer.Option("--grpc/--no-grpc", envvar="SAA_GRPC", help="Serve gRPC too.")] = True,
    tls_cert: Annotated[
        Path | None,
        typer.Option("--tls-cert", envvar="SAA_TLS_CERT", help="The certificate chain (PEM) of REST and gRPC."),
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option("--tls-key", envvar="SAA_TLS_KEY", help="The private key (PEM).")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", envvar="SAA_CONFIG", help="TOML: agents, collections, orchestrators.")
    ] = None,
    auth: Annotated[
        bool, typer.Option("--auth/--no-auth", envvar="SAA_AUTH", help="Require an API key; off on loopback only.")
    ] = True,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes; several need a store in an engine.")] = 1,
    log_level: Annotated[
        str | None, typer.Option("--log-level", envvar="SAA_LOG_LEVEL", help="DEBUG, INFO, WARNING or ERROR.")
    ] = None,
    data_dir: DataDir,
    models_dir: ModelsDir = None,
    agent: AgentName = AGENT,
    as_json: AsJson = False,
) -> None:
    """Serve the agents of a data folder over REST and gRPC until Ctrl-C or SIGTERM."""
    from super_advanced_agents.server import main as run
    from super_advanced_agents.server.logs import configure_logging
    from super_advanced_agents.server.workers import check_workers, run_workers
    from super_advanced_agents.tenancy.model_loading import check_models_dir
    from super_advanced_agents.tenancy.settings import Settings

    settings = Settings.load_for_folder(
        host=host,
        port=port,
        grpc=grpc,
        grpc_port=grpc_port,
        tls_cert=tls_cert,
        tls_key=tls_key,
        auth=auth,
        config=config,
        log_level=log_level,
        data_dir=data_dir,
        models_dir=models_dir,
        agent=agent,
    )
    if workers > 1 and not settings.reuse_port:
        check_workers(settings, workers)
        raise typer.Exit(run_workers(settings, workers, sys.argv[1:]))
    check_models_dir(settings)  # without it the server would listen, and never be ready
    configure_logging(settings.log_level, settings.log_format)

    print_addresses = partial(_print_addresses_as_json if as_json else _print_addresses, settings)
    run.serve(settings, on_listening=print_addresses, connect=_connect)


def _print_addresses_as_json(settings: Settings, at: ServerAddresses) -> None:
    from super_advanced_agents.server.mcp import configuration as mcp

    members = {"url": at.rest, "grpc": at.grpc, "pid": os.getpid(), "data_dir": str(settings.data_dir)}
    members["mcp"] = at.rest + mcp.PATH
    if at.metrics is not None:
        members["metrics"] = at.metrics
    print_json(members if at.admin_key is None else {**members, "admin_key": at.admin_key})


def _print_addresses(settings: Settings, at: ServerAddresses) -> None:
    from super_advanced_agents.server.mcp import configuration as mcp

    urls = f"{at.rest} and {at.grpc}" if at.grpc else at.rest
    if at.metrics is not None:
        print_note(f"Metrics at {at.metrics}.")
    print_note(f"Serving at {urls} (data in {str(settings.data_dir)!r}). Ctrl-C stops.")
    if at.admin_key is not None:
        print_note(f"Admin key, shown this once: {at.admin_key}")
        print_note("Send it as 'Authorization: Bearer KEY'; `saa keys` makes others, and revokes it.")
    print_note(f"For MCP clients:\n{mcp.client_configuration(at.rest, auth=settings.auth)}")


def _connect(url: str, agent: str, api_key: str | None) -> RemoteAgent:
    from super_advanced_agents.client import RemoteAgent

    return RemoteAgent(url, agent, api_key=api_key)
