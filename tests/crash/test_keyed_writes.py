"""`kill -9` between a write's commit and its reply: asked again by its key, it is answered as if nothing had been."""

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


def _served(start_child: StartChild, folder: Path, how: str) -> tuple[subprocess.Popen[str], httpx2.Client]:
    child = start_child("keyed_writes.py", folder, how)
    assert child.stdout is not None
    url = child.stdout.readline().strip()
    assert url, child.communicate()[1]
    return child, httpx2.Client(base_url=url, timeout=60)


def _asked(client: httpx2.Client, write: tuple[str, str, dict[str, Any]], key: str) -> httpx2.Response:
    method, path, body = write
    return client.request(method, path, json=body, headers={"Idempotency-Key": key})


def _killed_after_its_commit(start_child: StartChild, folder: Path, write: tuple[str, str, dict[str, Any]]) -> None:
    child, client = _served(start_child, folder, "stuck")
    with client:

        def ask() -> None:
            with suppress(httpx2.HTTPError):
                _asked(client, write, write[1])

        asking = threading.Thread(target=ask)
        asking.start()
        assert child.stdout is not None
        assert child.stdout.readline() == "committed\n"
        child.kill()
        asking.join()
    child.wait()


def test_a_write_whose_reply_was_lost_is_answered_and_not_done_again(start_child: StartChild, tmp_path: Path) -> None:
    """A collection made, records added without names, records deleted: each asked again after the kill, then once more.

    Not known to the server is only the reply: what was written is there.
    """
    for write in (CREATED, ADDED, DELETED):
        _killed_after_its_commit(start_child, tmp_path, write)
    child, client = _served(start_child, tmp_path, "free")
    with client:
        count = "/v1/collections/c/records:count"
        assert client.post(count, json={}).json() == {"count": 1}
        answers = {write[1]: [_asked(client, write, write[1]) for _ in range(2)] for write in (CREATED, ADDED, DELETED)}
        for first, again in answers.values():
            assert first.is_success, first.text
            assert "idempotency-replayed" not in first.headers
            assert again.headers["idempotency-replayed"] == "true"
            assert again.content == first.content
        assert answers[CREATED[1]][0].status_code == 201
        assert len(set(answers[ADDED[1]][0].json()["uids"])) == 2
        assert answers[DELETED[1]][0].json() == {"deleted": 1}
        assert client.post(count, json={}).json() == {"count": 1}
        assert _asked(client, ADDED, "another").is_success
        assert client.post(count, json={}).json() == {"count": 3}
        changed = _asked(client, (*ADDED[:2], {"vectors": [[1, 1]]}), ADDED[1])
        assert (changed.status_code, changed.json()["field"]) == (422, "Idempotency-Key")
    child.terminate()
    assert child.wait(30) == 0
