"""A server starts, becomes ready, stops, survives being killed, and notices callers that hang up."""

from __future__ import annotations

import itertools
import json
import signal
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2
import pytest
from tests.certificate import write_self_signed_certificate


def _wait_until_ready(client):
    while client.get("/readyz").status_code != 200:
        pass


def test_healthz_answers_before_readyz_reports_ready(machine):
    """`/readyz` names what is missing until every part is ready."""
    with machine.server() as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        first = client.get("/readyz")
        assert first.status_code in {200, 503}
        assert first.json()["ready"] is (first.status_code == 200)
        _wait_until_ready(client)
        ready = client.get("/readyz").json()
        assert (ready["ready"], ready["store"], ready["embedding_model"]) == (True, "open", "ready")


def test_ask_quotes_memories_and_chat_is_answered_503_when_the_language_model_is_missing(machine, tmp_path):
    """Searches and writes work without it."""
    with machine.server({"SAA_GENERATION_MODEL": str(tmp_path / "none.gguf")}) as client:
        client.post("/search", json={"query": "x"}).raise_for_status()
        client.post("/v1/agents/default/memories", json={"text": "x"}).raise_for_status()
        quoted = client.post("/v1/agents/default/ask", json={"question": "x"}).raise_for_status().json()
        assert (quoted["quoted"], "[1] “x”" in quoted["text"]) == (True, True)
        stream = client.post("/v1/agents/default/ask", json={"question": "x", "stream": True}).raise_for_status().text
        assert stream.startswith("event: sources")
        assert '"quoted":true' in stream
        chat = {"model": "default", "messages": [{"role": "user", "content": "x"}]}
        answer = client.post("/v1/chat/completions", json=chat)
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "model_not_found"


def test_readyz_tells_no_path_of_a_model_that_cannot_be_loaded(machine, tmp_path):
    """Anybody may ask; the path stands in the log."""
    with machine.server({"SAA_GENERATION_MODEL": str(tmp_path / "none.gguf")}) as client:
        while (state := client.get("/readyz").json())["language_model"] != "failed":
            pass
        assert "none.gguf" not in str(state)
        assert state["reason"].startswith("the language model could not be loaded")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_server_exits_with_0_on_sigterm_and_sigint(machine, number):
    """Acknowledged writes are there for the next server and for commands."""
    with machine.server() as client:
        [uid] = client.post("/v1/agents/default/memories", json={"text": "The Louvre"}).json()["uids"]
        client.process.send_signal(number)
        assert client.process.wait(60) == 0
    with machine.server() as client:
        assert client.get(f"/v1/agents/default/memories/{uid}").json()["text"] == "The Louvre"
    assert machine.json("list")["total"] == 1


@pytest.mark.crash
def test_killed_server_loses_no_acknowledged_batch(machine, campaign):
    """Several kills hit concurrent writers on one folder; every batch is whole or absent."""
    acknowledged = []

    def write(url, worker):
        with httpx2.Client(base_url=url, headers=machine.headers, timeout=60) as client:
            for n in range(10_000):
                batch = [{"text": f"text {worker} {n} {part}", "uid": f"{id(client)}-{n}-{part}"} for part in range(3)]
                try:
                    answer = client.post("/v1/agents/default/memories", json={"memories": batch})
                except httpx2.HTTPError:
                    return
                assert answer.status_code == 200
                acknowledged.extend(answer.json()["uids"])
                if len(acknowledged) > goal:
                    enough.set()

    for _ in range(2 * campaign):
        goal, enough = len(acknowledged) + 60, threading.Event()
        with machine.server() as client, ThreadPoolExecutor(4) as pool:
            writers = [pool.submit(write, client.base_url, worker) for worker in range(4)]
            assert enough.wait(120)
            client.process.kill()
            client.process.wait(60)
            for writer in writers:
                writer.result()
    exported = [json.loads(line) for line in machine.saa("export").splitlines()]
    stored = {line["uid"] for line in exported if "uid" in line}
    assert set(acknowledged) <= stored
    batches = {}
    for uid in stored:
        batches.setdefault(uid.rpartition("-")[0], set()).add(uid)
    assert {len(batch) for batch in batches.values()} == {3}


def test_data_folder_in_use_is_refused_with_the_pid_of_its_owner(machine):
    """A command and a second server are refused alike, and are told the server's address."""
    with machine.server() as client:
        for command in (["list"], ["serve", "--port", "0"]):
            with machine.start(*command) as second:
                _, errors = second.communicate(timeout=60)
            assert second.returncode == 1
            assert f"in use by the server at {client.base_url} (process {client.process.pid})" in errors


@pytest.mark.parametrize("option", ["--port", "--grpc-port"])
def test_port_in_use_is_refused_before_the_data_folder_is_made(machine, tmp_path, option):
    """The hint names the option, for the ports of REST and gRPC."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with machine.start("serve", "--port", 0, option, port, "--data-dir", tmp_path / "other") as second:
            _, errors = second.communicate(timeout=60)
    assert second.returncode == 2
    [error, hint] = errors.splitlines()
    assert f"another program listens on 127.0.0.1:{port}" in error
    assert f"choose another port with {option}" in hint
    assert not (tmp_path / "other").exists()


@contextmanager
def _language_model():
    """Run an OpenAI-compatible server that never ends an answer to a question with `forever` in it.

    Yield its URL, and semaphores for the answers that have begun and for callers that have hung up.
    """
    begun, hung_up = threading.Semaphore(0), threading.Semaphore(0)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            request_body = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            try:
                self._send({"content": "word "})
                begun.release()
                for n in itertools.count() if b"forever" in request_body else ():  # a repetition would be cut off
                    self._send({"content": f"and {n} is not {n * n}, "})
                    time.sleep(0.002)  # no model is faster
                self._send({}, finish="stop")
                self.wfile.write(b"data: [DONE]\n\n")
            except OSError:  # the caller has hung up
                hung_up.release()

        def _send(self, delta, finish=None):
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
            self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1", begun, hung_up
        finally:
            server.shutdown()
            thread.join()


def _request(path, body, credential):
    content = json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(content)}"]
    lines += ["Content-Type: application/json", f"Authorization: {credential}", "", ""]
    return "\r\n".join(lines).encode() + content


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "json"])
def test_caller_that_hangs_up_frees_the_generation_slot(machine, stream):
    """There is one slot, so the next question is answered only if the first generation has ended."""
    with _language_model() as (url, begun, hung_up):
        environment = {"SAA_GENERATION_BASE_URL": url, "SAA_GENERATION_MODEL": "m", "SAA_GENERATION_SLOTS": "1"}
        with machine.server(environment) as client:
            client.post("/v1/agents/default/memories", json={"text": "The Louvre"}).raise_for_status()
            body = {"question": "talk forever", "stream": stream}
            if stream:
                with client.stream("POST", "/v1/agents/default/ask", json=body) as answer:
                    assert "word" in next(text for text in answer.iter_text() if "word" in text)
            else:
                with socket.create_connection((client.base_url.host, client.base_url.port)) as caller:
                    caller.sendall(_request("/v1/agents/default/ask", body, client.headers["Authorization"]))
                    assert begun.acquire(timeout=60)
            assert hung_up.acquire(timeout=60)
            answer = client.post("/v1/agents/default/ask", json={"question": "one word"})
            assert answer.json()["text"] == "word"


def test_stopping_server_cancels_answers_after_the_drain_time(machine):
    """The server still exits with 0."""
    with _language_model() as (url, _, hung_up):
        environment = {"SAA_GENERATION_BASE_URL": url, "SAA_GENERATION_MODEL": "m", "SAA_DRAIN_S": "1"}
        with machine.server(environment) as client:
            client.post("/v1/agents/default/memories", json={"text": "The Louvre"}).raise_for_status()
            with client.stream(
                "POST", "/v1/agents/default/ask", json={"question": "talk forever", "stream": True}
            ) as answer:
                texts = answer.iter_text()
                next(texts)
                client.process.send_signal(signal.SIGTERM)
                with pytest.raises(httpx2.HTTPError):
                    for _ in texts:
                        pass
            assert client.process.wait(60) == 0
            assert hung_up.acquire(timeout=60)


def test_stopping_server_is_not_ready_but_answers_while_it_lingers(machine):
    """`/readyz` answers 503 at once; a second SIGTERM ends the lingering."""
    with machine.server({"SAA_LINGER_S": "60"}) as client:
        _wait_until_ready(client)
        client.process.send_signal(signal.SIGTERM)
        while (answer := client.get("/readyz")).status_code == 200:
            pass
        assert answer.json()["reason"] == "the server is being stopped"
        found = client.post("/search", json={"query": "still there?"})
        assert (found.status_code, found.headers["connection"]) == (200, "close")
        client.process.send_signal(signal.SIGTERM)  # a second signal ends the lingering
        assert client.process.wait(60) == 0


def test_server_with_a_certificate_answers_https_only(machine, tmp_path):
    """A wrong or missing key file is refused with a message."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    write_self_signed_certificate(cert, key)
    trusted = ssl.create_default_context(cafile=cert)
    with machine.server({"SAA_TLS_CERT": str(cert), "SAA_TLS_KEY": str(key)}, verify=trusted) as client:
        assert client.base_url.scheme == "https"
        assert client.get("/healthz").status_code == 200
        with pytest.raises(httpx2.HTTPError):
            httpx2.get(f"http://127.0.0.1:{client.base_url.port}/healthz")
    key.write_text("not a key")
    assert "cannot be used" in machine.start_and_fail("serve", "--tls-cert", cert, "--tls-key", key)
    assert "needs its private key" in machine.start_and_fail("serve", "--tls-cert", cert)


def test_saa_serve_refuses_several_workers_of_one_folder(machine):
    """The error names the reason and the store that can be shared."""
    errors = machine.start_and_fail("serve", "--workers", "4")
    assert "has one owner" in errors
    assert "postgresql://" in errors
