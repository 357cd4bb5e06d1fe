"""Fixtures that run a server on one core, and loads on the other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

ROOT = Path(__file__).resolve().parents[2]
REPORT_S = 60
UNLIMITED = {"SAA_RATE_LIMIT_PER_KEY": "0", "SAA_RATE_LIMIT_PER_TENANT": "0"}


def cores():
    """Return a core for the server and one for the load; the same one where there is no other."""
    found = sorted(os.sched_getaffinity(0))
    return found[0], found[-1]


class Served:
    """A running server."""

    def __init__(self, process, errors):
        self.process, self.errors = process, errors
        startup_info = json.loads(process.stdout.readline())
        self.url, self.key = startup_info["rest"], startup_info["key"]
        self.grpc = startup_info["grpc"]
        self.host, self.port = urlsplit(self.url).hostname, urlsplit(self.url).port
        self.headers = {"Authorization": f"Bearer {self.key}"}

    def resources(self):
        """Return what the server holds now: tasks, threads, sockets and permits."""
        self.process.send_signal(signal.SIGUSR1)
        late = threading.Timer(REPORT_S, self.process.send_signal, [signal.SIGABRT])  # it prints its stacks and ends
        late.start()
        try:
            line = self.process.stdout.readline()
        finally:
            late.cancel()
        assert line, f"the server did not report within {REPORT_S} s:\n{self.errors.read_text()}"
        return json.loads(line)

    def client(self):
        """Return a client with the admin key."""
        return httpx2.Client(base_url=self.url, headers=self.headers, timeout=60)

    def load(self, *, seconds, connections, rate=0, patient=False, path="/search", body='{"query": "question {n}?"}'):
        """Put a load on the server from another process, and return the report."""
        plan = {"host": self.host, "port": self.port, "key": self.key, "core": cores()[1], "seconds": seconds}
        plan |= {"connections": connections, "rate": rate, "patient": patient, "path": path, "body": body}
        done = subprocess.run(
            [sys.executable, "-m", "tests.load.generator"],
            input=json.dumps(plan),
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=False,
            timeout=seconds + 120,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def serving(tmp_path):
    """Return a function that starts a server; it must exit with 0 when the block ends."""

    @contextmanager
    def serve(name="data", *, ready=True, **settings):
        variables = {f"SAA_{key.upper()}": str(value) for key, value in settings.items()}
        environment = {**os.environ, **UNLIMITED, "SAA_PORT": "0", **variables, "SAA_DATA_DIR": str(tmp_path / name)}
        errors = tmp_path / f"{name}-errors.txt"
        with errors.open("w") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.load.watched", str(cores()[0])],
                env=environment,
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        try:
            served = Served(process, errors)
            with served.client() as client:
                while ready and client.get("/readyz").status_code != 200:
                    pass
            yield served
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                assert process.wait(60) == 0
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()

    return serve
