"""Answers that jobs keep lose their text when a memory that they cite is forgotten, in every way that there is."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

_AGENT = "/v1/agents/guide"
_ERASED, _KEPT = "eraseddd", "kepttt"
_ENDED = {"succeeded", "failed", "cancelled"}


@contextmanager
def _repeating_model():
    """Run a model server that answers with its prompt, and refuses webhooks; yield its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200 if self.path.startswith("/v1") else 404)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            if self.path.startswith("/v1"):
                text = " ".join(message["content"] for message in request["messages"])
                for delta, finish in (({"content": text}, None), ({}, "stop")):
                    choice = {"index": 0, "delta": delta, "finish_reason": finish}
                    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
                    self.wfile.write(b"data: " + json.dumps(chunk | {"choices": [choice]}).encode() + b"\n\n")
                self.wfile.write(b"data: [DONE]\n\n")

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def environment():
    """Yield the settings of a server whose model repeats what it is asked."""
    with _repeating_model() as url:
        yield {
            "SAA_GENERATION_BASE_URL": f"{url}/v1",
            "SAA_GENERATION_MODEL": "m",
            "SAA_WEBHOOK_SECRET": "a secret of 16 bytes",
            "SAA_WEBHOOK_PRIVATE": "1",
            "HOOK": f"{url}/hook",
        }


def _ask(client, question, agent="guide", **arguments):
    # Returns the path of a job that has asked an agent, and the state in which it ended.
    body = {"kind": "ask_agent", "arguments": {"question": question, "agent": agent, "remember": False, **arguments}}
    path = f"/v1/jobs/{client.post('/v1/jobs', json=body).raise_for_status().json()['id']}"
    while (state := client.get(path).json()["state"]) not in _ENDED:
        time.sleep(0.05)
    return path, state


def _remember(client, uid, text, agent="guide", **others):
    memory = {"uid": uid, "text": text, **others}
    client.post(f"/v1/agents/{agent}/memories", json=memory).raise_for_status()


def _words_of_jobs(machine):
    # Returns the words that a file of the jobs holds.
    files = [file.read_bytes() for file in (machine.data_dir / "jobs").rglob("*") if file.is_file()]
    return {word for word in (_ERASED, _KEPT) if any(word.encode() in content for content in files)}


def _forget_by_uid(client):
    client.delete(f"{_AGENT}/memories/m").raise_for_status()


def _forget_by_uids(client):
    client.post(f"{_AGENT}/memories:forget", json={"uids": ["m"]}).raise_for_status()


def _forget_the_agent(client):
    client.post(f"{_AGENT}/memories:forget", json={"where": {}}).raise_for_status()


def _replace(client):
    _remember(client, "m", "Another text")


def _change(client):
    client.patch(f"{_AGENT}/memories/m", json={"text": "Another text"}).raise_for_status()


WAYS = [_forget_by_uid, _forget_by_uids, _forget_the_agent, _replace, _change]


@pytest.mark.parametrize("forget", WAYS, ids=lambda way: way.__name__.strip("_"))
def test_kept_answer_loses_its_text_with_the_memory_that_it_cites(machine, environment, forget):
    """It is shown without at once, and is in no file after the server has stopped; another agent's stays."""
    with machine.server(environment) as client:
        _remember(client, "m", f"The code is {_ERASED}")
        _remember(client, "k", f"The code is {_KEPT}", agent="other")
        (answered, state), (kept, _) = _ask(client, "Which code?"), _ask(client, "Which code?", "other")
        assert state == "succeeded"
        assert _ERASED in client.get(answered).json()["result"]["text"]
        failed, state = _ask(client, "Which code?", webhook=environment["HOOK"])
        assert state == "failed"
        forget(client)
        result = client.get(answered).json()["result"]
        assert (result["text"], result["forgotten"], _ERASED in json.dumps(result)) == (None, True, False)
        assert _ERASED not in client.get(f"{failed}/events").text
        assert _KEPT in client.get(kept).json()["result"]["text"]
    assert _words_of_jobs(machine) == {_KEPT}


def test_kept_answer_loses_its_text_when_its_memory_expires_or_is_forgotten_without_a_server(machine, environment):
    """The next start of a server erases it."""
    with machine.server(environment) as client:
        lifetime_s, late = 3, True
        while late:  # until the memory has lived as long as a job takes
            expires_at = time.monotonic() + lifetime_s
            _remember(client, "m", f"The code is {_ERASED}", expires_in_s=lifetime_s)
            answered, _ = _ask(client, "Which code?")
            text = client.get(answered).json()["result"]["text"]
            lifetime_s, late = 2 * lifetime_s, time.monotonic() > expires_at
        assert _ERASED in text
        while client.get(f"{_AGENT}/memories/m").status_code != 404:
            time.sleep(0.1)
        assert client.get(answered).json()["result"]["text"] is None
        _remember(client, "k", f"The code is {_KEPT}", agent="other")
        _ask(client, "Which code?", "other")
    assert _words_of_jobs(machine) == {_KEPT}
    machine.saa("forget", "--agent", "other", "--all", "--yes")
    assert _words_of_jobs(machine) == {_KEPT}
    with machine.server(environment):
        pass
    assert _words_of_jobs(machine) == set()


def test_kept_answer_loses_its_text_when_the_memory_that_it_became_is_forgotten(machine, environment):
    """The memory that it cites is still there."""
    with machine.server(environment) as client:
        _remember(client, "m", f"The code is {_ERASED}")
        answered, _ = _ask(client, "Which code?", remember=True)
        result = client.get(answered).json()["result"]
        assert _ERASED in result["text"]
        client.delete(f"{_AGENT}/memories/{result['uid']}").raise_for_status()
        assert client.get(answered).json()["result"]["text"] is None
    assert _words_of_jobs(machine) == set()
