"""The conversation of `saa chat` on a real terminal (a pseudo-terminal)."""

from __future__ import annotations

import http.server
import json
import os
import pty
import re
import select
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

_ON_TERMINAL = """
import os, sys
terminal = os.open(sys.argv[1], os.O_RDWR)  # of a session's first process: its controlling terminal
for stream in range(3):
    os.dup2(terminal, stream)
main = "from super_advanced_agents.cli.main import main; main()"
os.execv(sys.executable, [sys.executable, "-c", main, *sys.argv[2:]])
"""
CTRL_C, CTRL_D = b"\x03", b"\x04"
PROMPT = r"(?:^|\n)> $"


class Terminal:
    """A terminal on which one command runs."""

    def __init__(self, controller, process):
        self._controller = controller
        self.process = process
        self.shown = ""
        self._read = 0

    def type(self, keys):
        """Press keys; what was shown before is not waited for any more."""
        self._read = len(self.shown)
        os.write(self._controller, keys)

    def wait_for(self, pattern, *, timeout_s=120):
        """Return what was shown since the last keys, once it matches."""
        deadline = time.monotonic() + timeout_s
        while not re.search(pattern, self.shown[self._read :]):
            left_s = deadline - time.monotonic()
            ready, _, _ = select.select([self._controller], [], [], max(0, left_s))
            assert ready, f"{pattern!r} was not shown, but {self.shown[self._read :]!r}"
            try:
                read = os.read(self._controller, 65_536)
            except OSError:  # the command has ended
                read = b""
            assert read, f"the command ended without {pattern!r}: {self.shown!r}"
            self.shown += read.decode(errors="replace").replace("\r\n", "\n")
        return self.shown[self._read :]


class Model(http.server.BaseHTTPRequestHandler):
    """A language model that repeats what the user said; it never ends when it is told to go on."""

    def do_POST(self):
        """Stream the answer to one chat."""
        messages = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"]
        said = [message["content"] for message in messages if message["role"] == "user"]
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self._send("You said: " + " / ".join(text.rpartition("Question: ")[2] for text in said))
        n = 0
        while "go on" in said[-1]:
            n += 1
            self._send(f" and {n}")
            if self.server.stopped.wait(0.05):
                return
        self._send("", finish="stop")

    def _send(self, text, finish=None):
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
        chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())

    def log_message(self, *_):
        """Print nothing."""


@pytest.fixture
def model():
    """Serve the language model, and yield its base URL."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model) as server:
        server.daemon_threads, server.stopped = True, threading.Event()
        server.handle_error = lambda *_: None  # of a client that hung up
        thread = threading.Thread(target=server.serve_forever, name="model", kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.stopped.set()
        server.shutdown()
        thread.join()


@contextmanager
def _terminal(data_dir, model, *arguments):
    controller, terminal = pty.openpty()
    variables = {"SAA_DATA_DIR": str(data_dir), "SAA_GENERATION_BASE_URL": model, "SAA_GENERATION_MODEL": "m"}
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", _ON_TERMINAL, os.ttyname(terminal), *arguments],
            env={**os.environ, **variables, "TERM": "dumb"},
            start_new_session=True,
            stdin=subprocess.DEVNULL,
        )
        try:
            yield Terminal(controller, process)
        finally:
            process.kill()
            process.wait()
    finally:
        os.close(controller)
        os.close(terminal)


def test_conversation_on_a_terminal_is_stopped_by_ctrl_c_ended_by_ctrl_d_and_remembered(machine, model):
    """An answer that was stopped is not remembered; a second run knows what was said in the first."""
    with _terminal(machine.data_dir, model, "chat") as chat:
        chat.wait_for(PROMPT)
        chat.type(b"My boat is called Rosinante.\n")
        assert "You said: My boat is called Rosinante." in chat.wait_for(r"You said.*\n> $")
        chat.type(b"It is blue.\n")
        assert "You said: My boat is called Rosinante. / It is blue." in chat.wait_for(r"You said.*\n> $")
        chat.type(b"Now go on.\n")
        chat.wait_for(r"and 3")
        chat.type(CTRL_C)
        assert "Stopped: neither the message nor the answer was remembered." in chat.wait_for(PROMPT)
        assert chat.process.poll() is None
        chat.type(CTRL_D)
        assert chat.process.wait(60) == 0
    turns = machine.json("list")["memories"]
    assert [turn["text"].partition(":")[0] for turn in turns] == ["user", "assistant", "user", "assistant"]
    assert not any("go on" in turn["text"] for turn in turns)
    with _terminal(machine.data_dir, model, "chat") as chat:
        chat.wait_for(PROMPT)
        chat.type(b"And fast.\n")
        said = chat.wait_for(r"You said.*\n> $")
        assert "You said: My boat is called Rosinante. / It is blue. / And fast." in said
        chat.type(CTRL_D)
        assert chat.process.wait(60) == 0
    assert len(machine.json("list")["memories"]) == 6


def test_ctrl_c_at_the_prompt_ends_the_chat(machine, model):
    """As in a shell's other programs; nothing was said, and nothing is stored."""
    with _terminal(machine.data_dir, model, "chat", "--session", "other") as chat:
        chat.wait_for(PROMPT)
        chat.type(CTRL_C)
        chat.wait_for(r"Interrupted\.")
        assert chat.process.wait(60) == 130
    assert machine.json("list")["memories"] == []
