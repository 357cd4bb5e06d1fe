"""The main job works end to end: imported notes and conversations are searched and asked through every interface."""

from __future__ import annotations

import json
import signal
import sqlite3
import time
from contextlib import closing, contextmanager

import pytest

from super_advanced_agents.agents import LLMAgent
from super_advanced_agents.stores import FAISSVectorStore

NOTES = {
    "trip.md": "# Trip\n\n## Hotel\n\nWe stay at Hotel Miramar from 3 May.\n\n## Train\n\nIt leaves at nine.\n",
    "home/garden.md": "# Garden\n\nThe tomatoes want water every evening.\n\nThe roses are cut in March.\n",
}
CONVERSATION = [
    ("Ann", "I adopted a cat, her name is Miso."),
    ("Bob", "Does she get along with your dog?"),
    ("Ann", "They sleep in one basket."),
    ("Bob", "My sister moved to Lisbon last year."),
]


@pytest.fixture
def files(tmp_path):
    """Return a folder of Markdown and a conversation as JSON lines."""
    for name, text in NOTES.items():
        (tmp_path / "notes" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "notes" / name).write_text(text, encoding="utf-8")
    turns = [{"speaker": speaker, "text": text, "session": "monday"} for speaker, text in CONVERSATION]
    (tmp_path / "chat.jsonl").write_text("".join(json.dumps(turn) + "\n" for turn in turns), encoding="utf-8")
    return tmp_path / "notes", tmp_path / "chat.jsonl"


def test_imported_notes_are_found_by_command_line_python_and_rest(machine, files, embedder):
    """A second import of the same files stores nothing twice and loses nothing."""
    assert machine.json("import", *files) == {
        "stored": 7, "replaced": 0, "known": 0, "deleted": 0, "kept": 0, "failed": 0, "agents": 0, "collections": 0,
        "left_out": {}, "passed_over": {}, "vanished": [], "files": 3, "dry_run": False, "complete": True, "errors": [],
    }  # fmt: skip

    hotel = machine.json("search", "Where do we sleep in May?", "--top-k", 1)["results"][0]
    assert "Miramar" in hotel["text"]
    assert hotel["metadata"]["heading"] == "Trip > Hotel"
    answer = machine.json("ask", "What is the name of Ann's cat?")
    assert "Miso" in answer["text"]
    assert any("Miso" in source["text"] for source in answer["sources"])

    with FAISSVectorStore(embedder.dim, machine.data_dir / "store") as store:
        agent = LLMAgent("default", store, embedder)
        assert agent.count() == 7
        [lisbon] = agent.search_text("Who lives in Portugal?", 1)
        assert lisbon.metadata["speaker"] == "Bob"
        [note] = agent.search_text("watering", 1, where={"heading": "Garden"})
        assert "tomatoes" in note.metadata["text"]

    with machine.server() as client:
        found = client.post("/search", json={"query": "Where do we sleep in May?", "top_k": 1}).json()["results"]
        assert found[0]["uid"] == hotel["uid"]
        served_answer = client.post(
            "/v1/agents/default/ask", json={"question": "What is the name of Ann's cat?"}
        ).json()
        assert "Miso" in served_answer["text"]
        client.post("/v1/agents/default/memories", json={"text": "Said over REST", "uid": "rest"}).raise_for_status()

    again = machine.json("import", *files)
    assert (again["stored"], again["known"]) == (0, 7)
    machine.saa("add", "Added later", "--uid", "later")
    listed = machine.json("list")
    assert listed["total"] == 9
    assert {"rest", "later", hotel["uid"]} <= {memory["uid"] for memory in listed["memories"]}
    machine.saa("doctor")


FACTS = [json.dumps({"text": f"Fact number {n} of many."}) for n in range(3_000)]


@contextmanager
def _half_done_import(machine):
    """Run an import until the second of its batches of 300 is durable."""
    with machine.start("import", "-", "--json", "--format", "jsonl") as running:
        running.stdin.write("\n".join(FACTS))
        running.stdin.close()
        running.stdin = None
        while _durable(machine) < 600:
            assert running.poll() is None, running.stderr.read()
            time.sleep(0.005)
        yield running


def _durable(machine):
    try:
        with closing(sqlite3.connect(f"file:{machine.data_dir}/store/memory.sqlite3?mode=ro", uri=True)) as rows:
            return rows.execute("SELECT count(*) FROM records").fetchone()[0]
    except sqlite3.OperationalError:  # the file or its table does not exist yet
        return 0


def test_saa_import_reports_progress_on_ctrl_c_and_resumes(machine):
    """Stored memories stay, and the same command stores the rest."""
    with _half_done_import(machine) as running:
        running.send_signal(signal.SIGINT)
        out, errors = running.communicate(timeout=120)
    assert running.returncode == 130, errors
    assert "The same command again" in errors
    summary = json.loads(out)
    assert summary["complete"] is False
    stored = machine.json("list")["total"]
    assert 0 < summary["stored"] <= stored < 3_000  # a batch may become durable, and its answer not be seen any more
    rest = machine.json("import", "-", "--format", "jsonl", stdin="\n".join(FACTS))
    assert (rest["stored"], rest["known"]) == (3_000 - stored, stored)
    assert machine.json("list")["total"] == 3_000


def test_saa_import_completes_after_kill_9(machine):
    """A killed import leaves whole batches, and the same command stores the rest."""
    with _half_done_import(machine) as running:
        running.kill()
    stored = machine.json("list")["total"]
    assert 0 < stored < 3_000
    rest = machine.json("import", "-", "--format", "jsonl", stdin="\n".join(FACTS))
    assert (rest["stored"], rest["known"]) == (3_000 - stored, stored)
    assert machine.json("list")["total"] == 3_000
