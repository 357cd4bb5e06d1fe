"""What was forgotten is not left readable in the files of the data folder, whatever has touched it before."""

from __future__ import annotations

import pytest

_MEMORIES = "/v1/agents/guide/memories"
_RECORDS = "/v1/collections/notes/records"
_WORDS = ("texttt", "sourceee", "extraaa", "changeddd", "turnnn", "recorddd", "queryyy", "keyeddd")
"""Words that stand in nothing but the data of the tests."""


def _files_with_words(machine):
    """Return the files of the data folder that hold one of the words, with what they hold."""
    return {
        str(file.relative_to(machine.data_dir)): words
        for file in machine.data_dir.rglob("*")
        if file.is_file() and (words := [word for word in _WORDS if word.encode() in file.read_bytes()])
    }


def _write(client):
    """Write memories, turns and records in every way, change some of them, and search for them."""

    def send(method, path, body, key=None):
        headers = {} if key is None else {"Idempotency-Key": key}
        answer = client.request(method, path, json=body, headers=headers)
        assert answer.is_success, answer.text

    memories = [
        {"uid": f"m{i}", "text": f"texttt {i}", "source": "sourceee", "extra": {"iban": "extraaa"}} for i in range(80)
    ]
    send("POST", _MEMORIES, {"memories": memories})
    send("POST", _MEMORIES, {"uid": "keyed", "text": "keyeddd"}, "add")
    send("PATCH", f"{_MEMORIES}/keyed", {"text": "changeddd"}, "change")
    send("PATCH", f"{_MEMORIES}/m1", {"extra": {"iban": "changeddd"}}, "change-further")
    send("POST", _MEMORIES, {"turns": [{"speaker": "Ann", "text": "turnnn"}], "session": "s"})
    send("POST", "/v1/agents/guide/search", {"query": "texttt queryyy"})
    send("POST", "/v1/collections", {"name": "notes", "dim": 2})
    send("POST", _RECORDS, {"vectors": [[1, 0]], "metadatas": [{"text": "recorddd"}], "uids": ["r"]}, "record")
    send("POST", "/v1/collections/notes/search:keywords", {"query_text": "recorddd"})


def _forget(client):
    client.post(f"{_MEMORIES}:forget", json={"where": {}}).raise_for_status()
    client.post(f"{_RECORDS}:delete", json={"where": {}}).raise_for_status()


@pytest.mark.parametrize("restarted", [False, True], ids=["at once", "after a restart"])
def test_forgotten_data_is_in_no_file_after_the_server_has_stopped(machine, restarted):
    """Neither texts, metadata and sources, nor replies that were kept for repeated writes, nor questions."""
    with machine.server() as client:
        _write(client)
        if not restarted:
            _forget(client)
    if restarted:
        assert _files_with_words(machine), "the words are looked for where they would be"
        with machine.server() as client:
            _forget(client)
    assert _files_with_words(machine) == {}


def test_reply_kept_for_a_repeated_write_shows_no_forgotten_text(machine):
    """The repeated change is not made again either."""
    with machine.server() as client:
        client.post(_MEMORIES, json={"uid": "m", "text": "texttt"}).raise_for_status()
        change = {"json": {"text": "changeddd"}, "headers": {"Idempotency-Key": "change"}}
        assert client.patch(f"{_MEMORIES}/m", **change).json()["text"] == "changeddd"
        client.delete(f"{_MEMORIES}/m").raise_for_status()
        assert client.patch(f"{_MEMORIES}/m", **change).status_code == 404
        assert client.get(f"{_MEMORIES}:count").json() == {"count": 0}
