"""Export and import, backup and restore, of several tenants whose data changes meanwhile, record by record."""

from __future__ import annotations

import asyncio
import itertools
import threading
from contextlib import contextmanager

import httpx2
import numpy as np
import pytest

from super_advanced_agents.stores.wrappers.tenant_view import tenant_view
from super_advanced_agents.tenancy.config_file import AgentSettings
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.tenancy.settings import Settings
from super_advanced_agents.tenancy.workspace import Workspace

TENANTS = ("default", "acme", "globex")
CHURN = "churn"


def run(data_dir, act):
    """Run a coroutine function with the open runtime of a data folder, and return its result."""

    async def opened():
        async with Runtime(Settings.load(data_dir=data_dir)) as runtime:
            await runtime.aopen()
            return await act(runtime)

    return asyncio.run(opened())


async def fill(runtime):
    """Write records with every field, equal uids and equal names for each tenant."""
    for number, tenant in enumerate(TENANTS):
        workspace = Workspace(runtime, tenant)
        agent = AgentSettings(description=f"of {tenant}", namespace="shared", answer_tokens=7 + number)
        await workspace.aput_agent("helper", agent)
        memories = tenant_view(runtime.store, tenant)
        vectors = np.random.default_rng(number).normal(size=(20, runtime.store.dim)).astype(np.float32)
        for namespace in ("default", "shared"):
            await memories.aadd_batch(
                vectors, [{"text": f"{i} of {tenant}", "of": tenant} for i in range(20)], [f"u{i}" for i in range(20)],
                namespace=namespace, model_id="a-model", sessions=["monday"] * 10 + [None] * 10,
                sources=[f"{tenant}.txt"] * 20, expires_in_s=[1e6] * 20, priorities=[0.5 + number] * 20,
            )  # fmt: skip
        for name in ("trips", "unused"):
            await workspace.acreate_collection(name, dim=3 + number, metric="dot", storage="fp16")
        trips = await workspace.acollection("trips")
        await trips.aadd_batch(
            vectors[:, : 3 + number], [{"of": tenant}] * 20, [f"u{i}" for i in range(20)], namespace="n"
        )


async def snapshot(runtime):
    """Return everything of every tenant but what the churn writes, with vectors as bytes."""
    found = {}
    for tenant in TENANTS:
        workspace = Workspace(runtime, tenant)
        stores = {(None, name): tenant_view(runtime.store, tenant) for name in ("default", "shared")}
        infos = [info for info in await workspace.acollections() if not info.name.startswith(CHURN)]
        stores |= {(info.name, "n"): await workspace.acollection(info.name) for info in infos}
        found[tenant] = {
            "agents": await workspace.aagents(),
            "collections": infos,
            "records": {key: await records(store, key[1]) for key, store in stores.items()},
        }
        for info in await workspace.acollections():  # each one can be opened, those of the churn too
            await (await workspace.acollection(info.name)).acount()
    return found


async def records(store, namespace):
    """Return the records of a namespace, by all their fields."""
    return [
        (
            record.uid, record.vector.tobytes(), record.metadata, record.namespace, record.model_id, record.source,
            record.session, record.place, record.created_at, record.updated_at, record.expires_at, record.priority,
        )
        for record in await store.ascan(namespace=namespace, limit=1_000)
    ]  # fmt: skip


@contextmanager
def churn(client):
    """Create, fill and delete collections and memories of their own agents until the block ends."""
    ended, started, failures = threading.Event(), threading.Barrier(3), []

    def work(worker):
        with httpx2.Client(base_url=client.base_url, headers=client.headers, timeout=120) as own:
            for number in itertools.count():
                name = f"{CHURN}-{worker}-{number}"
                answers = [
                    own.post("/v1/collections", json={"name": name, "dim": 2}),
                    own.post(f"/v1/collections/{name}/records", json={"vectors": [[1, 2]] * 5}),
                    own.post(f"/v1/agents/{CHURN}/memories", json={"uid": name, "text": "it comes and goes"}),
                ]
                if number % 2:
                    answers.append(own.delete(f"/v1/collections/{name}"))
                failures.extend(answer.text for answer in answers if answer.status_code >= 400)
                if number == 2:
                    started.wait(60)
                if ended.is_set():
                    return

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(2)]
    for thread in threads:
        thread.start()
    try:
        started.wait(60)
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert failures == []


@pytest.fixture(scope="module")
def busy(new_machine, tmp_path_factory):
    """Fill a data folder; save it in each way beside a server that is written to; return the folder of all."""
    folder = tmp_path_factory.mktemp("busy")
    machine = new_machine(folder / "data")
    run(machine.data_dir, fill)
    with machine.server() as client, churn(client):
        machine.saa("backup", folder / "backup")
        for ending in ("jsonl", "parquet"):
            machine.saa("export", folder / f"all.{ending}")
        machine.saa("export", folder / "acme.jsonl", "--tenant", "acme")
    return machine, folder, run(machine.data_dir, snapshot)


def test_restored_backup_equals_the_folder_record_by_record(busy):
    """Each tenant has its agents, collections, records, vectors, times, sessions and expiry times."""
    machine, folder, expected = busy
    machine.saa("restore", folder / "backup", "--data-dir", folder / "restored")
    assert run(folder / "restored", snapshot) == expected


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_imported_export_equals_the_folder_record_by_record(busy, ending):
    """A second import changes nothing."""
    machine, folder, expected = busy
    target = ("--data-dir", folder / f"imported-{ending}")
    for _ in range(2):
        report = machine.json("import", folder / f"all.{ending}", *target)
        assert (report["failed"], report["agents"], report["left_out"]) == (0, 3, {})
    assert run(target[1], snapshot) == expected


def test_one_tenant_can_be_moved_and_several_are_never_mixed(busy):
    """An export of several tenants goes to one tenant only when one of them was chosen."""
    machine, folder, expected = busy
    nothing = {"agents": [], "collections": []}

    def moved(name, *arguments):
        target = folder / name
        machine.saa("import", *arguments, "--data-dir", target)
        found = run(target, snapshot)
        assert {key: found["acme"][key] for key in nothing} == nothing
        assert not any(found["acme"]["records"].values())
        assert found["globex"] == expected["acme"]

    moved("one", folder / "acme.jsonl", "--tenant", "globex")
    moved("chosen", folder / "all.jsonl", "--tenant", "globex", "--from-tenant", "acme")
    moved("chosen-parquet", folder / "all.parquet", "--tenant", "globex", "--from-tenant", "acme")
    target = ("--data-dir", folder / "mixed")
    with machine.start("import", folder / "all.jsonl", "--tenant", "globex", *target) as process:
        assert "several tenants" in process.communicate(timeout=60)[1]
    report = machine.json("import", folder / "all.jsonl", "--from-tenant", "acme", *target)
    assert report["left_out"]["of other tenants"] > 40
    assert run(target[1], snapshot)["acme"] == expected["acme"]
