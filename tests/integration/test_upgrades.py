"""Data folders of earlier versions are opened and migrated, and those of newer ones are refused with the reason."""

from __future__ import annotations

import json
import sqlite3
import tarfile
import time
from contextlib import closing
from pathlib import Path

import pytest

from super_advanced_agents.server.auth.key_store import new_key
from super_advanced_agents.stores.local.maintenance import SCHEMA_VERSION

ARCHIVES = sorted((Path(__file__).parents[1] / "data" / "upgrades").glob("*.tar.xz"))
TEXTS = ["The pump in hall 3 was replaced in May.", "The kiln is in hall 7.", "Ann likes tea."]


@pytest.fixture
def old(machine, request):
    """Return a machine whose data folder an earlier version wrote."""
    with tarfile.open(request.param) as archive:
        archive.extractall(machine.data_dir, filter="data")
    machine.key = (machine.data_dir / "server" / "key.txt").read_text()
    return machine


@pytest.mark.parametrize("old", ARCHIVES, ids=lambda path: path.name.partition(".")[0], indirect=True)
def test_earlier_data_folder_serves_as_before(old):
    """Its key, memories, collection, agent and idempotent requests are all there, and doctor finds nothing wrong."""
    with old.server() as client:
        while client.get("/readyz").status_code != 200:
            time.sleep(0.05)
        found = client.post("/v1/agents/guide/search", json={"query": "When was the pump replaced?"}).json()["results"]
        assert {match["text"] for match in found} == set(TEXTS)
        assert found[0]["text"] == TEXTS[0]
        assert client.get("/v1/agents/guide").json()["description"] == "knows halls"
        nearest = client.post("/v1/collections/notes/search", json={"query_vector": [0, 1, 0, 0], "top_k": 1}).json()
        assert [match["uid"] for match in nearest["results"]] == ["u1"]
        stored = client.post("/v1/agents/guide/memories", json={"text": "new"}).raise_for_status().json()["uids"]
        assert client.get(f"/v1/agents/guide/memories/{stored[0]}").json()["text"] == "new"
    assert old.json("doctor")["ok"] is True


@pytest.mark.parametrize("old", ARCHIVES[-1:], ids=["newest"], indirect=True)
@pytest.mark.parametrize(
    "name", ["store/memory.sqlite3", "server/keys.db", "server/catalog.db", "server/requests.db", "jobs/jobs.db"]
)
def test_file_of_a_newer_version_is_refused_in_one_sentence(old, name):
    """A downgrade would lose what the newer version wrote."""
    if name == "jobs/jobs.db":  # servers made none when the folder was written
        old.json("jobs", "submit", "check_integrity")
    with closing(sqlite3.connect(old.data_dir / name)) as connection:
        connection.execute("PRAGMA user_version = 99")
        before = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    errors = old.start_and_fail("serve", "--port", 0, "--no-grpc")
    assert "newer version" in errors
    assert "Traceback" not in errors
    with closing(sqlite3.connect(old.data_dir / name)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (99,)
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == before


@pytest.mark.parametrize("old", ARCHIVES[:1], ids=["oldest"], indirect=True)
def test_doctor_migrates_all_stores_and_takes_the_rights_of_others_when_told_to(old):
    """Without being told it changes nothing; a second time there is nothing to do."""
    databases = [old.data_dir / "store" / "memory.sqlite3", *old.data_dir.glob("collections/*/memory.sqlite3")]
    databases[0].chmod(0o644)

    def versions():
        for database in databases:
            with closing(sqlite3.connect(database)) as connection:
                yield connection.execute("PRAGMA user_version").fetchone()[0]

    old.json("doctor", code=1)
    assert list(versions()) == [2, 2]
    fixed = [check["detail"] for check in old.json("doctor", "--fix")["checks"] if check["name"] == "fix"]
    assert any("took the rights" in detail for detail in fixed)
    assert "the stores have the schemas of this version" in fixed
    assert set(versions()) == {SCHEMA_VERSION}
    assert databases[0].stat().st_mode & 0o077 == 0
    again = [check["detail"] for check in old.json("doctor", "--fix")["checks"] if check["name"] == "fix"]
    assert again == ["the stores have the schemas of this version"]


def test_doctor_makes_the_tables_of_a_shared_database_before_a_server_of_it_starts(
    machine, new_machine, tmp_path, postgres_schema_url
):
    """As the chart's job does, with the URL in a file; a second server finds the key that the first was given."""
    key = new_key().key
    for name, secret in (("store", postgres_schema_url), ("key", key)):
        (tmp_path / name).write_text(secret)
    given = {"SAA_STORE_FILE": str(tmp_path / "store")}
    with machine.start("doctor", "--fix", "--json", environment=given) as process:
        out, errors = process.communicate(timeout=150)
    assert process.returncode == 0, out + errors
    fixed = [check["detail"] for check in json.loads(out)["checks"] if check["name"] == "fix"]
    assert fixed[-1] == "the stores have the schemas of this version"
    with machine.server({**given, "SAA_ADMIN_KEY_FILE": str(tmp_path / "key")}) as first:
        first.headers["Authorization"] = f"Bearer {key}"
        with new_machine(tmp_path / "second").server(given) as second:
            second.headers["Authorization"] = f"Bearer {key}"
            while second.get("/readyz").status_code != 200 or first.get("/readyz").status_code != 200:
                time.sleep(0.05)
            stored = first.post("/v1/agents/guide/memories", json={"text": TEXTS[0]}).raise_for_status().json()
            found = second.post("/v1/agents/guide/search", json={"query": "pump"}).raise_for_status().json()["results"]
            assert [match["uid"] for match in found] == stored["uids"]
