"""A real server that all tests of a module share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from super_advanced_agents import DistributedVectorStore

_SAA = [sys.executable, "-c", "from super_advanced_agents.cli.main import main; main()"]
_NO_SERVER = "http://127.0.0.1:9/v1"  # vectors need no model, so none is loaded


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """The addresses of a server and the admin key that it printed."""

    rest: str
    grpc: str
    key: str


@pytest.fixture(autouse=True)
def connections_have_ended() -> Iterator[None]:
    """Wait until gRPC has closed the descriptors of closed channels, before another fixture looks for leaks.

    gRPC closes them in a thread of its own, a moment after a channel was closed.
    """
    before = _descriptors()
    yield
    deadline = time.monotonic() + 5
    while _descriptors() - before and time.monotonic() < deadline:
        time.sleep(0.002)


def _descriptors() -> set[str]:
    """Return the open descriptors, without that of the listing itself."""
    found = set()
    for path in Path("/proc/self/fd").iterdir() if sys.platform == "linux" else ():
        with suppress(FileNotFoundError):
            if not str(path.readlink()).startswith("/proc/"):
                found.add(path.name)
    return found


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server without models and without rate limits, ended with SIGTERM after the module's tests."""
    settings = {
        "SAA_DATA_DIR": str(tmp_path_factory.mktemp("served") / "data"),
        "SAA_EMBEDDING_BASE_URL": _NO_SERVER,
        "SAA_EMBEDDING_MODEL": "none",
        "SAA_EMBEDDING_DIM": "4",
        "SAA_GENERATION_BASE_URL": _NO_SERVER,
        "SAA_GENERATION_MODEL": "none",
        "SAA_RATE_LIMIT_PER_KEY": "0",
        "SAA_RATE_LIMIT_PER_TENANT": "0",
        "SAA_LINGER_S": "0",
        "SAA_MAX_COLLECTIONS": "100000",
    }
    with subprocess.Popen(
        [*_SAA, "serve", "--port", "0", "--grpc-port", "0", "--json"],
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            printed = json.loads(process.stdout.readline())
            server = Served(rest=printed["url"], grpc=printed["grpc"], key=printed["admin_key"])
            with DistributedVectorStore(server.grpc, collection="open", api_key=server.key, dim=4) as client:
                client.count()  # gRPC's own threads and descriptors exist as long as any channel is open
                yield server
        finally:
            process.send_signal(signal.SIGTERM)
    assert process.returncode == 0
