"""Servers under test, each in a process of its own on the last core: ours and Chroma's."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

from benchmarks import programs

_STARTS_WITHIN_S = 60.0
SAA = [sys.executable, "-c", "from super_advanced_agents.cli.main import main; main()"]


@dataclass(frozen=True, slots=True)
class Served:
    """The addresses and the key of a running server.

    Attributes:
        port: the port of REST, on 127.0.0.1.
        grpc: the address of gRPC, `host:port`.
        key: the admin key.
        pid: the process id.
    """

    port: int
    grpc: str
    key: str
    pid: int

    @property
    def headers(self) -> dict[str, str]:
        """The HTTP headers that carry the key."""
        return {"Authorization": f"Bearer {self.key}"}


@contextmanager
def server(folder: Path, *, one_core: bool = True, **environment: str) -> Iterator[Served]:
    """Run `saa serve` over a new folder, and yield it when it is ready.

    Args:
        folder: the data folder.
        one_core: whether it may use the last core only.
        environment: more variables; without any there are no rate limits.
    """
    options = ["--port", "0", "--json", "--data-dir", str(folder)]
    settings = {
        "SAA_RATE_LIMIT_PER_KEY": "0",
        "SAA_RATE_LIMIT_PER_TENANT": "0",
        "SAA_LINGER_S": "0",
        "SAA_LOG_LEVEL": "ERROR",
        **environment,
    }
    with programs.on_one_core(one_core):
        program = subprocess.Popen(
            [*SAA, "serve", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=programs.environment(**settings),
        )
    with program:
        assert program.stdout is not None
        started = json.loads(program.stdout.readline())
        port = int(started["url"].rpartition(":")[2])
        try:
            _wait_until_answering(f"http://127.0.0.1:{port}/readyz", program)
            key = started.get("admin_key") or ""  # only the first server of a database makes one
            yield Served(port, started["grpc"].removeprefix("grpc://"), key, program.pid)
        finally:
            program.terminate()


@contextmanager
def chroma_server(folder: Path) -> Iterator[int]:
    """Run Chroma's own server over a new folder, and yield its port.

    Raises:
        ImportError: Chroma is not installed.
    """
    import chromadb  # noqa: F401  # fails where it is not installed

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).parent / "chroma"), "run", "--path", str(folder)]
    with programs.on_one_core():
        program = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    with program:
        try:
            _wait_until_answering(f"http://127.0.0.1:{port}/api/v2/heartbeat", program)
            yield port
        finally:
            program.terminate()


def _wait_until_answering(url: str, program: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _STARTS_WITHIN_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (URLError, OSError):
            if program.poll() is not None or time.monotonic() > until:
                raise
            time.sleep(0.1)
