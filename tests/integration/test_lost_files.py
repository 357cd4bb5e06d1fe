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


def _memory_count(client):
    return len(client.get("/v1/agents/default/memories").json()["memories"])


def _kill_after_log_was_replaced(client, log, write):
    for i in range(5):
        write(i).raise_for_status()
    earlier = log.read_bytes()
    write(5).raise_for_status()
    log.rename(log.with_name("own"))
    log.write_bytes(earlier)
    _wait_until_ready(client, 503)
    client.process.kill()
    client.process.wait()


@pytest.mark.parametrize(
    ("log_name", "write", "count"),
    [
        ("store/memory.sqlite3-wal", lambda client, i: _add(client), _memory_count),
        (
            "server/catalog.db-wal",
            lambda client, i: _make_collection(client, f"c{i}"),
            lambda client: len(client.get(_COLLECTION).json()["collections"]),
        ),
    ],
    ids=["store", "catalog"],
)
def test_server_killed_after_its_log_was_replaced_does_not_replay_the_strange_one(machine, log_name, write, count):
    """It has saved what its own log held, says which file to move away, and loses nothing."""
    log = machine.data_dir / log_name
    with machine.server() as client:
        _wait_until_ready(client)
        _kill_after_log_was_replaced(client, log, lambda i: write(client, i))
    assert f"move '{log.name}' away" in machine.start_and_fail("serve", "--port", 0)
    log.unlink()
    with machine.server() as client:
        _wait_until_ready(client)
        assert count(client) == 6


def test_kept_replies_are_not_taken_from_a_strange_log(machine):
    """Writes with a key are refused while it is there; then each repetition gets the reply that was kept."""
    log = machine.data_dir / "server" / "requests.db-wal"
    with machine.server() as client:
        _wait_until_ready(client)
        _kill_after_log_was_replaced(client, log, lambda i: _add(client, f"k{i}"))
    with machine.server() as client:
        _wait_until_ready(client)
        refused = _add(client, "k5")
        assert refused.status_code == 500
        assert "not the log of this database" in refused.json()["detail"]
        log.unlink()
        for i in range(6):
            assert _add(client, f"k{i}").status_code == 200
        assert _memory_count(client) == 6
