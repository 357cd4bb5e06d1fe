"""`saa import` and `saa export` with `--url`: the results at a server are those in a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack

import httpx2
import pytest

from super_advanced_agents import DistributedVectorStore, RemoteAgent
from super_advanced_agents.cli.at_server.restoring import ServerImporter
from super_advanced_agents.stores.transfer import open_export
from super_advanced_agents.tenancy.importing.files import Inputs
from super_advanced_agents.tenancy.importing.summary import Summary

CHAT = [
    {"role": "user", "content": f"question {n}", "conversation": "plans"} if n % 2 == 0 else
    {"role": "assistant", "content": f"answer {n}", "conversation": "plans"}
    for n in range(6)
]  # fmt: skip


class Commands:
    """Run `saa` in processes of its own, with one cache and one environment."""

    def __init__(self, folder, **environment):
        self.folder = folder
        self.environment = {
            **os.environ,
            "SAA_DATA_DIR": str(folder / "data"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            **environment,
        }

    def __call__(self, *arguments, code=0):
        """Run a command, and return what it printed."""
        command = [sys.executable, "-c", "from super_advanced_agents.cli.main import main; main()"]
        done = subprocess.run(
            [*command, *map(str, arguments)], capture_output=True, text=True, timeout=300, env=self.environment
        )
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    def json(self, *arguments, code=0):
        """Run a command with `--json`, and return what it printed."""
        return json.loads(self(*arguments, "--json", code=code))

    def texts(self, agent):
        """Return the source, place and text of an agent's memories, sorted."""
        memories = self.json("list", "--agent", agent, "--limit", 1_000)["memories"]
        return sorted((each["source"], each["metadata"].get("lines"), each["text"]) for each in memories)


@pytest.fixture(scope="module")
def served_machine(new_machine, tmp_path_factory):
    """Run one server, and yield its addresses and its admin key."""
    machine = new_machine(tmp_path_factory.mktemp("server") / "data")
    with machine.server() as client:
        yield client.startup_info, machine


@pytest.fixture(scope="module", params=["url", "grpc"])
def at_server(request, served_machine, tmp_path_factory):
    """Run `saa` against the server, over REST or gRPC."""
    info, _ = served_machine
    environment = {"SAA_URL": info[request.param], "SAA_API_KEY": info["admin_key"]}
    commands = Commands(tmp_path_factory.mktemp("client"), **environment)
    commands.name = request.param
    yield commands
    assert not (commands.folder / "data").exists()


@pytest.fixture
def in_folder(tmp_path):
    """Run `saa` on a data folder."""
    return Commands(tmp_path)


def _write(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_edited_files_imported_twice_leave_at_a_server_what_is_in_the_folder(at_server, in_folder, tmp_path):
    """Reports and memories are equal to those of a data folder, at each step."""
    notes, agent = tmp_path / "notes", f"notes-{at_server.name}"

    def imported(*options):
        reports = [saa.json("import", notes, "--agent", agent, *options) for saa in (at_server, in_folder)]
        assert reports[0] == reports[1]
        assert at_server.texts(agent) == in_folder.texts(agent)
        return reports[0]

    _write(notes, "dentist.md", "# Dentist\n\nOn Monday.\n\n# Baker\n\nRye bread.\n")
    _write(notes, "gone.md", "# Gone\n\nSoon deleted.\n")
    _write(notes, "moved.md", "# Moved\n\nInto a folder.\n")
    assert imported()["stored"] == 4
    _write(notes, "dentist.md", "# New\n\nOn top.\n\n# Dentist\n\nOn Friday.\n\n# Baker\n\nRye bread.\n")
    (notes / "gone.md").unlink()
    (notes / "deeper").mkdir()
    (notes / "moved.md").rename(notes / "deeper" / "moved.md")
    preview = imported("--sync", "--dry-run")
    assert preview["changes"]["notes/gone.md"] == {"deleted": 1}
    report = imported("--sync")
    assert (report["stored"], report["replaced"], report["deleted"], report["known"]) == (2, 1, 1, 2)
    assert imported("--sync")["stored"] == 0


def test_turn_put_into_a_chat_stands_in_its_place_at_a_server(at_server, tmp_path):
    """A later export of the conversation begins with a turn that the first one did not have."""
    agent, file = f"chat-{at_server.name}", tmp_path / "chat.jsonl"
    for turns in (CHAT[1:], CHAT):
        file.write_text("".join(json.dumps(turn) + "\n" for turn in turns))
        at_server("import", file, "--agent", agent)
    exported = tmp_path / "chat.export.jsonl"
    at_server("export", exported, "--agent", agent)
    turns = sorted(_records(exported).values(), key=lambda record: record[-1])
    assert [metadata["text"].partition(": ")[2] for _, metadata, *_ in turns] == [turn["content"] for turn in CHAT]


def test_export_of_a_server_imported_into_an_empty_folder_gives_equal_memories(at_server, in_folder, tmp_path):
    """Texts, vectors, metadata, times, sessions and sources are those of the server."""
    agent = f"moved-{at_server.name}"
    at_server("add", "Rex is a dog in Oslo", "--uid", "rex", "--agent", agent, "--extra", '{"age": 4}')
    at_server("add", "soon expired", "--uid", "soon", "--agent", agent, "--expires-in-s", "900", "--priority", "0.5")
    (tmp_path / "chat.jsonl").write_text("".join(json.dumps(turn) + "\n" for turn in CHAT))
    at_server("import", tmp_path / "chat.jsonl", "--agent", agent)
    for saa, name in ((at_server, "first.jsonl"), (in_folder, "second.jsonl")):
        saa("export", tmp_path / name, "--agent", agent)
        in_folder("import", tmp_path / name) if saa is at_server else None
    first, second = (_records(tmp_path / name) for name in ("first.jsonl", "second.jsonl"))
    assert len(first) == 8
    assert first == second
    assert len(first["rex"][0]) == 384


def _records(path):
    reader = open_export(path)
    records = [entry.record for entry in reader.page() if entry.record is not None]
    reader.close()
    order = {record.uid: n for n, record in enumerate(sorted(records, key=lambda each: each.place or 0))}
    return {
        each.uid: (
            *(tuple(each.vector.tolist()), each.metadata, each.namespace, each.model_id, each.source, each.session),
            *(each.created_at, each.updated_at, each.expires_at, each.priority),
            order[each.uid] if each.session else None,
        )
        for each in records
    }


def test_export_of_a_folder_is_restored_at_a_server(at_server, in_folder, tmp_path):
    """Texts, metadata, times of creation and conversations; collections with their vectors, settings of agents."""
    agent = f"restored-{at_server.name}"
    in_folder("add", "Rex is a dog in Oslo", "--uid", "rex", "--agent", agent)
    (tmp_path / "chat.jsonl").write_text("".join(json.dumps(turn) + "\n" for turn in CHAT))
    in_folder("import", tmp_path / "chat.jsonl", "--agent", agent)
    for name in ("folder.jsonl", "server.jsonl"):
        saa = in_folder if name == "folder.jsonl" else at_server
        saa("export", tmp_path / name, "--agent", agent)
        if saa is in_folder:
            assert at_server.json("import", tmp_path / name)["stored"] == 7
            assert at_server.json("import", tmp_path / name)["stored"] == 7
    folder, server = (_records(tmp_path / name) for name in ("folder.jsonl", "server.jsonl"))
    assert {uid: (*record[1:7], record[-1]) for uid, record in folder.items()} == {
        uid: (*record[1:7], record[-1]) for uid, record in server.items()
    }


def test_export_at_a_server_names_no_tenant(at_server):
    """The key does."""
    for command in (["export", "-"], ["import", "x.md"]):
        assert "the key names the tenant" in at_server(*command, "--tenant", "acme", code=2)


def test_ordinary_key_restores_everything_but_the_settings_of_agents(served_machine, tmp_path):
    """What is left out is said; so is what the other tenants of an export are."""
    info, machine = served_machine
    scopes = ("--scope", "memories:read", "--scope", "memories:write")
    key = machine.json("keys", "create", "--tenant", "small", *scopes)["key"]
    admin = Commands(tmp_path / "a", SAA_URL=info["url"], SAA_API_KEY=info["admin_key"])
    ordinary = Commands(tmp_path / "b", SAA_URL=info["url"], SAA_API_KEY=key)
    header = {"Authorization": f"Bearer {info['admin_key']}"}
    with httpx2.Client(base_url=info["url"], headers=header, timeout=60) as client:
        client.put("/v1/agents/clerk", json={"description": "knows files"}).raise_for_status()
        client.post("/v1/collections", json={"name": "numbers", "dim": 2}).raise_for_status()
        client.post("/v1/collections/numbers/records", json={"vectors": [[1, 2]], "uids": ["n"]}).raise_for_status()
    admin("add", "The files are in the cellar", "--agent", "clerk")
    admin("export", tmp_path / "all.jsonl")
    report = ordinary.json("import", tmp_path / "all.jsonl")
    assert report["collections"] >= 1
    assert report["agents"] == 0
    assert any("scope admin" in why for why in report["left_out"])
    assert ordinary.json("list", "--agent", "clerk")["total"] == 1
    again = ordinary.json("export", tmp_path / "small.jsonl")
    assert again["exported"] == report["stored"]
    report = admin.json("import", tmp_path / "all.jsonl")
    assert (report["agents"], report["failed"]) == (1, 0)


class _InterruptedAgent(RemoteAgent):
    def add_text_memories(self, items, **options):
        super().add_text_memories(items, **options)
        raise KeyboardInterrupt


class _InterruptedStore(DistributedVectorStore):
    def put(self, records):
        super().put(records)
        raise KeyboardInterrupt


class _InterruptedImporter(ServerImporter):
    """Is interrupted after its first write, before the answer is counted."""

    def open_agent(self, namespace):
        return _InterruptedAgent(self._url, namespace, api_key=self._key)

    def open_collection(self, name):
        return _InterruptedStore(self._url, name, api_key=self._key)


@pytest.mark.parametrize("kind", ["memories", "records"])
def test_interrupted_restoration_at_a_server_counts_what_is_there(served_machine, tmp_path, kind):
    """The answer of the last write was lost, and its records are asked for."""
    info, machine = served_machine
    key = machine.json("keys", "create", "--tenant", f"interrupted-{kind}", "--scope", "admin")["key"]
    header = {"format": "super-advanced-agents/export", "dim": 4, "vectors": True, "tenant": "default", "version": 2}
    header |= {"created_at": 1.0, "metric": "cosine", "namespace": None}
    row = {"namespace": "default", "created_at": 1.0, "updated_at": 2.0, "vector": [1, 2, 3, 4]}
    lines = [{**row, "uid": f"u{n}", "text": f"text {n}", "metadata": {"n": n}} for n in range(3)]
    if kind == "records":
        settings = {"dim": 4, "metric": "dot", "index": "auto", "storage": "fp32", "created_at": 1.0}
        lines = [{"kind": "collection", "name": "numbers", **settings}] + [
            {**line, "collection": "numbers"} for line in lines
        ]
    (tmp_path / "all.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [header, *lines]))
    summary = Summary()
    importer = _InterruptedImporter(
        info["url"], key, namespace=None, from_tenant=None, summary=summary,
        on_bytes=lambda _: None, on_rejected=lambda _: None,
    )  # fmt: skip
    with ExitStack() as stack, pytest.raises(KeyboardInterrupt):
        importer.run(list(Inputs([tmp_path / "all.jsonl"], stack).find()))
    assert summary.stored == 3
