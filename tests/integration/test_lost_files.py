"""A real server whose files others remove: it refuses what it could not keep, and says that it is not ready."""

from __future__ import annotations

import pytest

_COLLECTION = "/v1/collections"


def _wait_until_ready(client, status=200):
    while client.get("/readyz").status_code != status:
        pass


def _make_collection(client, name):
    return client.post(_COLLECTION, json={"name": name, "dim": 4, "metric": "cosine", "index": "flat"})


def _add_to_collection(client, name):
    return client.post(f"{_COLLECTION}/{name}/records", json={"vectors": [[1, 0, 0, 0]]})


def _add(client, key=None):
    headers = {} if key is None else {"idempotency-key": key}
    return client.post("/v1/agents/default/memories", json={"text": "word"}, headers=headers)


@pytest.mark.parametrize(
    ("file", "refused"),
    [
        ("store/memory.sqlite3", _add),
        ("server/catalog.db", lambda client: _make_collection(client, "other")),
        ("server/requests.db", lambda client: _add(client, "second")),
        ("collections/*/memory.sqlite3", lambda client: _add_to_collection(client, "notes")),
    ],
)
def test_server_that_lost_a_database_is_not_ready_and_refuses_what_belongs_to_it(machine, file, refused):
    """It notices although nobody writes; strangers learn no path, and the next start does not pass over the loss."""
    with machine.server() as client:
        _wait_until_ready(client)
        assert _add(client, "first").status_code == _add(client).status_code == 200
        assert _make_collection(client, "notes").status_code == 201
        assert _add_to_collection(client, "notes").status_code == 200
        [path] = machine.data_dir.glob(file)
        path.unlink()
        _wait_until_ready(client, 503)
        state = client.get("/readyz").json()
        assert (state["ready"], state["store"]) == (False, "failed")
        assert str(machine.data_dir) not in str(state)
        answer = refused(client)
        assert answer.status_code == 500
        assert "so writes have stopped" in answer.json()["detail"]
        assert client.get("/v1/agents/default/memories").status_code == 200
    assert path.with_name(f"{path.name}-damaged").is_file()


def test_server_killed_after_its_store_was_moved_away_does_not_begin_anew(machine):
    """The folder's own files are complete; the server waits for them instead of starting without."""
    with machine.server() as client:
        _wait_until_ready(client)
        _add(client).raise_for_status()
        store = machine.data_dir / "store"
        store.rename(store.with_name("elsewhere"))
        assert _add(client).status_code == 500
        client.process.kill()
        client.process.wait()
    assert "acknowledged writes may be missing" in machine.start_and_fail("serve", "--port", 0)


def test_server_killed_after_its_log_was_replaced_does_not_replay_the_strange_one(machine):
    """It has saved what its own log held, says which file to move away, and loses nothing."""
    with machine.server() as client:
        _wait_until_ready(client)
        for _ in range(5):
            _add(client).raise_for_status()
        log = machine.data_dir / "store" / "memory.sqlite3-wal"
        earlier = log.read_bytes()
        _add(client).raise_for_status()
        log.rename(log.with_name("own"))
        log.write_bytes(earlier)
        _wait_until_ready(client, 503)
        client.process.kill()
        client.process.wait()
    assert "move 'memory.sqlite3-wal' away" in machine.start_and_fail("serve", "--port", 0)
    log.unlink()
    with machine.server() as client:
        _wait_until_ready(client)
        assert len(client.get("/v1/agents/default/memories").json()["memories"]) == 6
