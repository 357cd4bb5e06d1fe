"""Fixtures that run real `saa` commands and servers, each in its own process."""

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
    """Run commands and servers on one data folder."""

    def __init__(self, data_dir):
        self.data_dir = data_dir
        self.key = None

    @property
    def headers(self):
        """Return the headers with the admin key that the first server printed."""
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
        """Run a command with `--json` to its end and return what it printed, parsed."""
        return json.loads(self.saa(*arguments, "--json", stdin=stdin, code=code))

    def start_and_fail(self, *arguments):
        """Run a command that must fail and return its standard error."""
        with self.start(*arguments) as process:
            try:
                _, errors = process.communicate(timeout=60)
            finally:
                process.kill()  # else leaving the context would wait for a server that runs
        assert process.returncode in {1, 2}, errors
        return errors

    @contextmanager
    def logged_server(self, log, environment=None):
        """Run a server whose log, from DEBUG on, is appended to a file."""
        with log.open("a") as stderr, self.server({"SAA_LOG_LEVEL": "DEBUG", **(environment or {})}, stderr) as client:
            yield client

    @contextmanager
    def server(self, environment=None, stderr=subprocess.DEVNULL, **options):
        """Run a server on a free port and yield a client of it that sends the admin key.

        The server is ended with SIGTERM and must exit with 0, unless the test has ended it.
        """
        process = self.start("serve", "--port", 0, "--json", environment=environment, stderr=stderr)
        try:
            startup_info = json.loads(process.stdout.readline())
            self.key = startup_info.get("admin_key", self.key)
            # A connection that is kept may be made anew in a later test, and would count as its leak.
            options["limits"] = httpx2.Limits(max_keepalive_connections=0)
            with httpx2.Client(base_url=startup_info["url"], headers=self.headers, timeout=120, **options) as client:
                client.process, client.startup_info = process, startup_info
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
    """Return the class of machines, for fixtures with a data folder of their own."""
    return Machine


@pytest.fixture
def machine(tmp_path):
    """Return a machine with an empty data folder."""
    return Machine(tmp_path / "data")


@pytest.fixture(scope="module")
def shared_machine(tmp_path_factory):
    """Return the machine whose server the tests of a module share."""
    return Machine(tmp_path_factory.mktemp("served") / "data")


@pytest.fixture(scope="module")
def served(shared_machine):
    """Yield the URL of one server that the tests of a module share; each test uses its own agent."""
    with shared_machine.server() as client:
        yield client.base_url


@pytest.fixture
def rest(served, shared_machine):
    """Yield a client of the shared server that sends its admin key."""
    with httpx2.Client(base_url=served, headers=shared_machine.headers, timeout=120) as client:
        yield client
