"""One import that two `saa worker` processes share over PostgreSQL, and one of them is killed."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import ExitStack, closing, contextmanager

import psycopg
import pytest
from tests.postgres import fresh_schema

from super_advanced_agents.agents import LLMAgent
from super_advanced_agents.jobs import Jobs
from super_advanced_agents.jobs.builtin import BUILTIN
from super_advanced_agents.stores.opening import open_store
from super_advanced_agents.tenancy.importing.applying import Applier
from super_advanced_agents.tenancy.importing.files import Inputs
from super_advanced_agents.tenancy.importing.locations import Locations
from super_advanced_agents.tenancy.importing.planning import Planning
from super_advanced_agents.tenancy.importing.summary import Summary

_FILES, _FACTS, _TURNS = 5, 60, 120
_ALL = _FILES * _FACTS + _TURNS


@pytest.fixture
def files_dir(tmp_path):
    """Return the folder that the workers share, with lists and interleaved conversations of the tenant."""
    folder = tmp_path / "files" / "default" / "corpus"
    folder.mkdir(parents=True)
    for number in range(_FILES):
        facts = [{"text": f"The lamp {n} of house {number} is lit."} for n in range(_FACTS)]
        (folder / f"facts{number:02}.jsonl").write_text("".join(json.dumps(fact) + "\n" for fact in facts))
    turns = [{"speaker": "AB"[n % 2], "text": f"I said thing {n}.", "session": f"day {n % 3}"} for n in range(_TURNS)]
    (folder / "chat.jsonl").write_text("".join(json.dumps(turn) + "\n" for turn in turns))
    return tmp_path / "files"


class Worker:
    """A worker process with a data folder of its own, and the id under which it takes jobs."""

    def __init__(self, process, url, known):
        self.process = process
        assert process.stdout.readline(), process.stderr.read()
        while not (new := _column(url, "SELECT id FROM job_workers") - known):
            time.sleep(0.01)
        [self.id] = new


def _column(url, statement):
    address, _, schema = url.rpartition("schema=")
    with psycopg.connect(address.rstrip("&?"), options=f"-c search_path={schema}") as connection:
        return {value for [value] in connection.execute(statement)}


@contextmanager
def _workers(new_machine, folder, url, files_dir):
    environment = {
        "SAA_STORE": url, "SAA_FILES_DIR": str(files_dir), "SAA_JOB_LEASE_S": "5", "SAA_DRAIN_S": "0",
        "SAA_JOB_QUEUES": "bulk=1",
    }  # fmt: skip
    processes, found = [], []
    try:
        for name in ("one", "two"):
            processes.append(new_machine(folder / name).start("worker", "--json", environment=environment))
            found.append(Worker(processes[-1], url, {worker.id for worker in found}))
        yield found
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _import_alone(url, embedder, folder):
    """Import a folder in this process, as the command does; return the number of memories."""
    summary = Summary()
    with open_store(url, dim=embedder.dim) as store, ExitStack() as stack:
        agent = LLMAgent("default", store, embedder)
        planning = Planning(
            inputs=Inputs([folder], stack), locations=Locations(None), memory_type="document", forced=None,
            sync=False, summary=summary, on_rejected=print,
        )  # fmt: skip
        with closing(planning.plan(list(planning.inputs.find()), agent)) as plan:
            Applier(agent, summary=summary, on_stored=lambda _: None, on_rejected=print).apply(plan)
    return summary.stored


def _records(url, embedder):
    """Return all memories by uid, and the turns of each session in order."""
    with open_store(url, dim=embedder.dim) as store:
        agent = LLMAgent("default", store, embedder)
        found = {}
        after = None
        while page := agent.scan(after=after, limit=1_000):
            found.update({record.uid: record for record in page})
            after = page[-1].uid
    turns = sorted((r.session, r.place, r.uid) for r in found.values() if r.session is not None)
    places = [(session, uid) for session, _, uid in turns]
    return {uid: (r.text, r.metadata, r.source, r.session) for uid, r in found.items()}, places


def test_two_workers_share_an_import_and_one_is_killed(new_machine, tmp_path, files_dir, postgres_url, embedder):
    """Both store shards; the one that planned the import dies; the memories are those of an import in one process."""
    with fresh_schema(postgres_url) as shared, fresh_schema(postgres_url) as alone:
        with Jobs(shared, BUILTIN) as jobs, _workers(new_machine, tmp_path, shared, files_dir) as workers:
            jobs.open()
            job = jobs.submit("import_files", {"path": "corpus", "shard_size": 20})
            busy = "SELECT DISTINCT worker FROM jobs WHERE kind = 'import_shard' AND state = 'running'"
            both, seen = {worker.id for worker in workers}, set()
            while not seen >= both or jobs.get(job.id).done < 60:
                seen |= _column(shared, busy)
                assert not jobs.get(job.id).state.final
            [planner] = _column(shared, f"SELECT worker FROM jobs WHERE id = '{job.id}'")
            [victim] = [worker for worker in workers if worker.id == planner]
            os.kill(victim.process.pid, signal.SIGKILL)
            result = jobs.result(job.id, timeout_s=120)
            states = {info.state for info in jobs.list(kind="import_shard", limit=1_000)}
        assert states == {"succeeded"}
        assert result["shards"] > 10
        assert result["stored"] == _import_alone(alone, embedder, files_dir / "default" / "corpus") == _ALL
        assert _records(shared, embedder) == _records(alone, embedder)
        assert not any((files_dir / "default" / ".shards").iterdir())
