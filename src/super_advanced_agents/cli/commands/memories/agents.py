"""The command `saa agents`, which lists the agents that have memories or settings."""

from __future__ import annotations

from pathlib import Path

from super_advanced_agents.cli.options import AsJson, DataDir, ModelsDir, ServerURL
from super_advanced_agents.cli.output import print_json, print_note, print_result, report_errors, without_controls
from super_advanced_agents.cli.session import open_namespace, server_key


@report_errors
def agents(*, data_dir: DataDir, models_dir: ModelsDir = None, url: ServerURL = None, as_json: AsJson = False) -> None:
    """List the agents that have memories (stored texts) or settings of their own."""
    del models_dir  # every command accepts the option; this one needs no model
    names = _names_in(data_dir) if url is None else _names_at(url)
    if as_json:
        print_json({"agents": [{"name": name} for name in names]})
        return
    for name in names:
        print_result(without_controls(name))
    if not names:
        print_note("There are no agents yet. The first memory makes one: saa add TEXT --agent NAME")


def _names_in(data_dir: Path) -> list[str]:
    import asyncio

    from super_advanced_agents.config import DEFAULT_TENANT

    with open_namespace(data_dir, "default") as (store, _):
        stored = asyncio.run(store.anamespaces()) or []
    return sorted({*stored, *_configured_in(data_dir, DEFAULT_TENANT)})


def _configured_in(data_dir: Path, tenant: str) -> list[str]:
    from super_advanced_agents.tenancy.data_folder.saving import read_catalog_of
    from super_advanced_agents.tenancy.settings import Settings
    from super_advanced_agents.tenancy.shared_state import shared_state

    state = shared_state(Settings.load(data_dir=data_dir))
    if state is None:
        return [name for owner, name in read_catalog_of(data_dir).agents if owner == tenant]
    from super_advanced_agents.tenancy.catalog.postgres import PostgresCatalog
    from super_advanced_agents.tenancy.config_file import Declared

    with state:
        state.open()
        with PostgresCatalog(state, Declared(), max_collections=0, max_agents=0) as catalog:
            return [info.name for info in catalog.agents(tenant)]


def _names_at(url: str) -> list[str]:
    from super_advanced_agents._runtime.concurrency.sync_bridge import run_sync
    from super_advanced_agents.cli.waiting import wait_for_server
    from super_advanced_agents.client.remote_tenant import RemoteTenant

    wait_for_server(url)
    with RemoteTenant(url, api_key=server_key()) as tenant:
        return [agent.name for agent in run_sync(tenant.aagents())]
