"""Real commands and real servers, each in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import httpx2
import pytest

SAA = [sys.executable, "-c", "from super_advanced_agents.cli.main import main; main()"]


class Machine:
    """One data folder, and the commands and servers that work on it."""

    def __init__(self, data_dir):
        self.data_dir = data_dir
        self.key = None

    @property
    def headers(self):
        """What a caller sends, once a first server has made the admin key; there is no other server without one."""
        return {"Authorization": f"Bearer {self.key}"}

    def start(self, *arguments, environment=None, **options):
        """Start a command; the caller ends it."""
        variables = {**os.environ, "SAA_DATA_DIR": str(self.data_dir), "SAA_LINGER_S": "0", **(environment or {})}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.Popen([*SAA, *map(str, arguments)], env=variables, text=True, **pipes)

    def saa(self, *arguments, stdin="", code=0):
        """Run a command to its end and return what it printed."""
        with self.start(*arguments) as process:
            out, err = process.communicate(stdin, timeout=150)
        assert process.returncode == code, f"{process.returncode}: {err}"
        return out

    def json(self, *arguments, stdin="", code=0):
        """The same with `--json`, read."""
        return json.loads(self.saa(*arguments, "--json", stdin=stdin, code=code))

    def start_and_fail(self, *arguments):
        """Run a command that must not work, and return what it told."""
        with self.start(*arguments) as process:
            _, told = process.communicate(timeout=60)
        assert process.returncode in {1, 2}, told
        return told

    @contextmanager
    def server(self, environment=None, **options):
        """A server on a port of its own; ended with SIGTERM, which it must answer with 0, if the test has not.

        The client sends the admin key that the first one printed.
        """
        process = self.start("serve", "--port", 0, "--json", environment=environment, stderr=subprocess.DEVNULL)
        try:
            told = json.loads(process.stdout.readline())
            self.key = told.get("admin_key", self.key)
            with httpx2.Client(base_url=told["url"], headers=self.headers, timeout=120, **options) as client:
                client.process, client.told = process, told
                yield client
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) == 0
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()


@pytest.fixture(scope="session")
def new_machine():
    """Makes a machine of a data folder."""
    return Machine


@pytest.fixture
def machine(tmp_path):
    """A machine with an empty data folder."""
    return Machine(tmp_path / "data")


@pytest.fixture(scope="module")
def shared_machine(tmp_path_factory):
    """The machine of the server that the tests of a module share."""
    return Machine(tmp_path_factory.mktemp("served") / "data")


@pytest.fixture(scope="module")
def served(shared_machine):
    """The URL of one server that the tests of a module share; each uses an agent of its own."""
    with shared_machine.server() as client:
        yield client.base_url


@pytest.fixture
def rest(served, shared_machine):
    """A client of that server, with its admin key."""
    with httpx2.Client(base_url=served, headers=shared_machine.headers, timeout=120) as client:
        yield client
