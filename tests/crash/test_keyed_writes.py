"""A server is killed between the commit of a write with an idempotency key and its reply."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.crash
StartChild = Callable[..., "subprocess.Popen[str]"]

CREATED = ("POST", "/v1/collections", {"name": "c", "dim": 2})
ADDED = ("POST", "/v1/collections/c/records", {"vectors": [[1, 0], [0, 1]], "metadatas": [{"n": 1}, {"n": 2}]})
DELETED = ("POST", "/v1/collections/c/records:delete", {"where": {"n": 2}})


def _start_server(start_child: StartChild, folder: Path, mode: str) -> tuple[subprocess.Popen[str], httpx2.Client]:
    child = start_child("keyed_writes.py", folder, mode)
    assert child.stdout is not None
    url = child.stdout.readline().strip()
    assert url, child.communicate()[1]
    return child, httpx2.Client(base_url=url, timeout=60)


def _send(client: httpx2.Client, write: tuple[str, str, dict[str, Any]], key: str) -> httpx2.Response:
    method, path, body = write
    return client.request(method, path, json=body, headers={"Idempotency-Key": key})


def _kill_after_commit(start_child: StartChild, folder: Path, write: tuple[str, str, dict[str, Any]]) -> None:
    child, client = _start_server(start_child, folder, "stuck")
    with client:

        def send() -> None:
            with suppress(httpx2.HTTPError):
                _send(client, write, write[1])

        sender = threading.Thread(target=send)
        sender.start()
        assert child.stdout is not None
        assert child.stdout.readline() == "committed\n"
        child.kill()
        sender.join()
    child.wait()


def test_write_whose_reply_was_lost_by_a_kill_runs_once(start_child: StartChild, tmp_path: Path) -> None:
    """A collection, new records and a deletion are each sent again after the kill, and then once more.

    The server knows everything but the reply: what was written is there.
    """
    for write in (CREATED, ADDED, DELETED):
        _kill_after_commit(start_child, tmp_path, write)
    child, client = _start_server(start_child, tmp_path, "free")
    with client:
        count = "/v1/collections/c/records:count"
        assert client.post(count, json={}).json() == {"count": 1}
        answers = {write[1]: [_send(client, write, write[1]) for _ in range(2)] for write in (CREATED, ADDED, DELETED)}
        for first, again in answers.values():
            assert first.is_success, first.text
            assert "idempotency-replayed" not in first.headers
            assert again.headers["idempotency-replayed"] == "true"
            assert again.content == first.content
        assert answers[CREATED[1]][0].status_code == 201
        assert len(set(answers[ADDED[1]][0].json()["uids"])) == 2
        assert answers[DELETED[1]][0].json() == {"deleted": 1}
        assert client.post(count, json={}).json() == {"count": 1}
        assert _send(client, ADDED, "another").is_success
        assert client.post(count, json={}).json() == {"count": 3}
        changed = _send(client, (*ADDED[:2], {"vectors": [[1, 1]]}), ADDED[1])
        assert (changed.status_code, changed.json()["field"]) == (422, "Idempotency-Key")
    child.terminate()
    assert child.wait(30) == 0
