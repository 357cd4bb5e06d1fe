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
_NOWHERE = "http://127.0.0.1:9/v1"  # vectors need no model, so none is loaded


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Where a server is, and the key of its first start."""

    rest: str
    grpc: str
    key: str


@pytest.fixture(autouse=True)
def connections_have_ended() -> Iterator[None]:
    """gRPC closes the descriptors of a closed channel a moment later, in a thread of its own; a leak is found after."""
    before = _descriptors()
    yield
    deadline = time.monotonic() + 5
    while _descriptors() - before and time.monotonic() < deadline:
        time.sleep(0.002)


def _descriptors() -> set[str]:
    """What is open, but for the listing itself."""
    found = set()
    for path in Path("/proc/self/fd").iterdir() if sys.platform == "linux" else ():
        with suppress(FileNotFoundError):
            if not str(path.readlink()).startswith("/proc/"):
                found.add(path.name)
    return found


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of vectors, without models and without allowances, ended with SIGTERM."""
    settings = {
        "SAA_DATA_DIR": str(tmp_path_factory.mktemp("served") / "data"),
        "SAA_EMBEDDING_BASE_URL": _NOWHERE,
        "SAA_EMBEDDING_MODEL": "none",
        "SAA_EMBEDDING_DIM": "4",
        "SAA_GENERATION_BASE_URL": _NOWHERE,
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
            told = json.loads(process.stdout.readline())
            at = Served(rest=told["url"], grpc=told["grpc"], key=told["admin_key"])
            with DistributedVectorStore(at.grpc, collection="kept", api_key=at.key, dim=4) as kept:
                kept.count()  # gRPC's own threads and descriptors are there as long as any channel is
                yield at
        finally:
            process.send_signal(signal.SIGTERM)
    assert process.returncode == 0
