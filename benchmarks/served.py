"""A server in a process of its own, on the last core; and Chroma's beside it, each for as long as it is measured."""

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
_SAA = [sys.executable, "-c", "from super_advanced_agents.cli.main import main; main()"]


@dataclass(frozen=True, slots=True)
class Served:
    """Where a server is, and the key it wants.

    Attributes:
        port: of REST, on 127.0.0.1.
        grpc: `host:port`.
        key: of its administrator.
        pid: its process.
    """

    port: int
    grpc: str
    key: str
    pid: int

    @property
    def headers(self) -> dict[str, str]:
        """What shows the key."""
        return {"Authorization": f"Bearer {self.key}"}


@contextmanager
def server(folder: Path) -> Iterator[Served]:
    """`saa serve` over a new folder, without limits of rate; ready."""
    options = ["--port", "0", "--json", "--data-dir", str(folder)]
    with programs.on_one_core():
        program = subprocess.Popen(
            [*_SAA, "serve", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=programs.environment(
                SAA_RATE_LIMIT_PER_KEY="0", SAA_RATE_LIMIT_PER_TENANT="0", SAA_LINGER_S="0", SAA_LOG_LEVEL="ERROR"
            ),
        )
    with program:
        assert program.stdout is not None
        said = json.loads(program.stdout.readline())
        port = int(said["url"].rpartition(":")[2])
        try:
            _until_answering(f"http://127.0.0.1:{port}/readyz", program)
            yield Served(port, said["grpc"].removeprefix("grpc://"), said["admin_key"], program.pid)
        finally:
            program.terminate()


@contextmanager
def chroma_server(folder: Path) -> Iterator[int]:
    """Chroma's own server over a new folder; gives its port.

    Raises:
        ImportError: it is not installed.
    """
    import chromadb  # noqa: F401  # only to know that it is there

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).parent / "chroma"), "run", "--path", str(folder)]
    with programs.on_one_core():
        program = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    with program:
        try:
            _until_answering(f"http://127.0.0.1:{port}/api/v2/heartbeat", program)
            yield port
        finally:
            program.terminate()


def _until_answering(url: str, program: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _STARTS_WITHIN_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (URLError, OSError):
            if program.poll() is not None or time.monotonic() > until:
                raise
            time.sleep(0.1)
