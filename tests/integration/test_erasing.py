"""Forgetting is proved: after compaction no file of the data folder holds what was erased."""

from __future__ import annotations

import secrets
import sqlite3
import time
from contextlib import closing

_MEMORIES = "/v1/agents/guide/memories"
_COUNT = 1_000


def _store(client, canaries):
    """Store each canary as a text, as metadata and as a turn of a session, in every way that writes take."""
    for start in range(0, _COUNT, 250):
        part = list(enumerate(canaries[start : start + 250], start))
        memories = [
            {"uid": f"m{i}", "text": f"the code of {i} is {word}", "extra": {"code": word}, "source": word}
            for i, word in part
        ]
        headers = {"Idempotency-Key": f"batch-{start}"}
        client.post(_MEMORIES, json={"memories": memories}, headers=headers).raise_for_status()
    for i in range(0, _COUNT, 50):  # rows that replace others
        client.patch(f"{_MEMORIES}/m{i}", json={"extra": {"code": canaries[i], "again": True}}).raise_for_status()
    for i in range(0, _COUNT, 100):  # indexes in memory and on disk, and the caches of results and vectors
        client.post("/v1/agents/guide/search", json={"query": f"the code {canaries[i]}"}).raise_for_status()


def _found_in_files(folder, words):
    """Return the words that a file of a folder holds, by the file's name; they are read backwards too."""
    found = {}
    for file in folder.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            held = [word for word in words if word.encode() in content or word[::-1].encode() in content]
            if held:
                found[str(file.relative_to(folder))] = len(held)
    return found


def _let_expire(data_dir, uids):
    """Set the lifetimes of memories to five minutes ago, as if no process had looked at the store since."""
    with closing(sqlite3.connect(data_dir / "store" / "memory.sqlite3")) as connection, connection:
        now = time.time()
        marks = ",".join("?" * len(uids))
        done = connection.execute(f"UPDATE records SET expires_at = ? WHERE uid IN ({marks})", (now - 300, *uids))
        assert done.rowcount == len(uids)
        connection.execute("INSERT OR REPLACE INTO settings VALUES ('clock_seen', ?)", (repr(now - 200),))


def _run_jobs(client, canaries):
    """Run a job whose arguments repeat a canary, and one that exports to the folder of files."""
    for kind, arguments in (("probe_recall", {"agent": canaries[0]}), ("export", {})):
        job = client.post("/v1/jobs", json={"kind": kind, "arguments": arguments}).raise_for_status().json()["id"]
        while (info := client.get(f"/v1/jobs/{job}").json())["state"] in {"queued", "running"}:
            time.sleep(0.05)
        assert info["state"] == "succeeded", info


def test_no_byte_of_500_erased_of_1000_memories_is_left_after_compaction(machine):
    """400 are forgotten and 100 expire; the other 500 are found, and the audit log has the receipts."""
    canaries = [secrets.token_hex(12) for _ in range(_COUNT)]
    forgotten, expired, kept = canaries[:800:2], canaries[800::2], canaries[1::2]
    erased = forgotten + expired
    log = machine.data_dir.parent / "log"
    with machine.logged_server(log) as client:
        _store(client, canaries)
        _run_jobs(client, canaries)
    assert sum(_found_in_files(machine.data_dir, erased).values()) >= len(erased), "they are where they would be found"
    [export] = machine.data_dir.glob("files/*/exports/*")
    upload = machine.data_dir / "files" / "default" / "upload.txt"
    upload.write_text(canaries[0])
    elsewhere = machine.data_dir.parent / "backup"
    machine.saa("backup", str(elsewhere))
    with machine.logged_server(log) as client:
        uids = [f"m{i}" for i in range(0, 800, 2)]
        for start in range(0, len(uids), 100):
            answer = client.post(f"{_MEMORIES}:forget", json={"uids": uids[start : start + 100]})
            assert answer.json() == {"deleted": 100}
        client.post("/v1/agents/guide/search", json={"query": f"the code {kept[0]}"}).raise_for_status()
    _let_expire(machine.data_dir, [f"m{i}" for i in range(800, _COUNT, 2)])
    compacted = machine.json("compact")
    assert compacted["databases"] >= 2
    assert compacted["removed"] >= 2, "the words and the vectors of what was erased were in indexes and in a cache"
    assert (compacted["expired"], compacted["waiting"], compacted["jobs"]) == (len(expired), 0, 2)
    copies = {copy["path"] for copy in compacted["copies"]}
    assert copies == {str(elsewhere), str(export), str(upload)}
    for copied in (export, upload):
        copied.unlink()  # as the operator does who read the list
    assert _found_in_files(machine.data_dir, erased) == {}
    assert _found_in_files(elsewhere, erased)
    assert not [word for word in canaries if word in log.read_text()]
    with machine.server() as client:
        assert client.get(f"{_MEMORIES}:count").json() == {"count": len(kept)}
        for i in range(1, _COUNT, 100):
            search = {"query": f"the code {canaries[i]}", "top_k": 1}
            [found] = client.post("/v1/agents/guide/search", json=search).json()["results"]
            assert canaries[i] in found["text"]
        for word in erased[::50]:
            search = {"query": word, "mode": "keyword"}
            assert client.post("/v1/agents/guide/search", json=search).json()["results"] == []
    assert _found_in_files(machine.data_dir, erased) == {}
    receipts = machine.json("audit", "tail", "-n", 1000)["entries"]
    assert sum(entry["items"] for entry in receipts if entry["operation"] == "forgetMemories") == len(forgotten)
    assert receipts[-1]["operation"] == "compact"
    assert (receipts[-1]["items"], set(receipts[-1]["copies"])) == (len(expired), copies)
    assert machine.json("audit", "verify")["faults"] == []


def test_folder_in_use_is_not_compacted(machine):
    """The error names the server that uses it."""
    with machine.server() as client:
        client.post(_MEMORIES, json={"text": "x"}).raise_for_status()
        assert client.startup_info["url"] in machine.start_and_fail("compact")
