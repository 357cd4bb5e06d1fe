"""`saa serve`: agents behind REST."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from super_advanced_agents.cli.options import AGENT, DATA_DIR, AgentName, AsJson, DataDir, ModelsDir
from super_advanced_agents.cli.output import emit, note, reported


@reported
def serve(
    *,
    host: Annotated[str, typer.Option("--host", envvar="SAA_HOST", help="A loopback address.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", "-p", envvar="SAA_PORT", min=0, max=65_535, help="0 lets the system choose.")
    ] = 8000,
    log_level: Annotated[
        str | None, typer.Option("--log-level", envvar="SAA_LOG_LEVEL", help="DEBUG, INFO, WARNING or ERROR.")
    ] = None,
    data_dir: DataDir = DATA_DIR,
    models_dir: ModelsDir = None,
    agent: AgentName = AGENT,
    as_json: AsJson = False,
) -> None:
    """Serve agents over REST until Ctrl-C or SIGTERM."""
    from super_advanced_agents.server import run
    from super_advanced_agents.server.settings import Settings

    settings = Settings.load(
        host=host, port=port, log_level=log_level, data_dir=data_dir, models_dir=models_dir, agent=agent
    )
    run.configure_logging(settings.log_level)

    def on_listening(url: str) -> None:
        if as_json:
            emit({"url": url, "pid": os.getpid(), "data_dir": str(settings.data_dir)})
        else:
            note(f"Serving at {url} (data in {str(settings.data_dir)!r}). Ctrl-C stops.")

    run.serve(settings, on_listening=on_listening)
