"""The command `saa worker`, which runs background jobs."""

from __future__ import annotations

from typing import Annotated

import typer

from super_advanced_agents.cli.options import AsJson, DataDir, ModelsDir
from super_advanced_agents.cli.output import print_json, print_note, report_errors


@report_errors
def worker(
    *,
    queues: Annotated[
        str | None,
        typer.Option("--queues", envvar="SAA_JOB_QUEUES", help="Queues and their jobs at once: default=8,bulk=1."),
    ] = None,
    health_port: Annotated[
        int | None,
        typer.Option("--health-port", min=0, max=65_535, help="Answer GET /healthz on this port of loopback."),
    ] = None,
    log_level: Annotated[
        str | None, typer.Option("--log-level", envvar="SAA_LOG_LEVEL", help="DEBUG, INFO, WARNING or ERROR.")
    ] = None,
    data_dir: DataDir,
    models_dir: ModelsDir = None,
    as_json: AsJson = False,
) -> None:
    """Run background jobs until Ctrl-C or SIGTERM, which lets running jobs end for a while.

    Any number of workers share the jobs in PostgreSQL (SAA_JOBS); those in a data folder have one owner.
    """
    import asyncio

    from super_advanced_agents.server.job_worker import WorkerAddresses, arun_worker
    from super_advanced_agents.server.logs import configure_logging
    from super_advanced_agents.tenancy.settings import Settings

    settings = Settings.load_for_folder(
        data_dir=data_dir, models_dir=models_dir, job_queues=queues, log_level=log_level
    )
    configure_logging(settings.log_level, settings.log_format)

    def on_running(at: WorkerAddresses) -> None:
        if as_json:
            members = {"queues": dict(settings.job_queues), "health_port": at.health_port}
            print_json(members if at.metrics is None else {**members, "metrics": at.metrics})
        else:
            if at.metrics is not None:
                print_note(f"Metrics at {at.metrics}.")
            print_note(f"Running jobs of {', '.join(settings.job_queues)}. Ctrl-C stops.")

    asyncio.run(arun_worker(settings, health_port=health_port, on_running=on_running))
