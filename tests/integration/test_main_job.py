"""The main job works end to end: imported notes and conversations are searched and asked through every interface."""

from __future__ import annotations

import json
import signal

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
        "stored": 7, "known": 0, "failed": 0, "files": 3, "complete": True, "errors": [],
        "agents": 0, "collections": 0, "left_out": {},
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


def test_saa_import_reports_progress_on_ctrl_c_and_resumes(machine):
    """Stored memories stay, and the same command stores the rest."""
    lines = [json.dumps({"text": f"Fact number {n} of many."}) for n in range(600)]
    with machine.start("import", "-", "--json", "--format", "jsonl") as running:
        running.stdin.write("\n".join(lines[:300]) + "\nnot json\n")
        running.stdin.flush()
        assert running.stderr.readline().startswith("stdin:301: ")  # 256 are on their way, 44 wait for more
        running.send_signal(signal.SIGINT)
        out, errors = running.communicate(timeout=120)
    assert running.returncode == 130, errors
    assert "The same command again" in errors
    summary = json.loads(out)
    assert summary["complete"] is False
    assert summary["stored"] == machine.json("list")["total"] == 256
    rest = machine.json("import", "-", "--format", "jsonl", stdin="\n".join(lines))
    assert (rest["stored"], rest["known"]) == (344, 256)
    assert machine.json("list")["total"] == 600


def test_saa_import_completes_after_kill_9(machine):
    """A killed import leaves whole batches only."""
    lines = [json.dumps({"text": f"Fact number {n} of many."}) for n in range(600)]
    with machine.start("import", "-", "--format", "jsonl") as running:
        running.stdin.write("\n".join(lines[:300]) + "\nnot json\n")
        running.stdin.flush()
        running.stderr.readline()
        running.kill()
    assert machine.json("list")["total"] in {0, 256}
    machine.saa("import", "-", "--format", "jsonl", stdin="\n".join(lines))
    assert machine.json("list")["total"] == 600
