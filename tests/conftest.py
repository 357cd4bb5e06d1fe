"""Fixtures and checks of all tests: no blocking call in an event loop, and no thread or file left open."""

from __future__ import annotations

import gc
import inspect
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import uvloop
from blockbuster import blockbuster_ctx
from hypothesis import settings

if TYPE_CHECKING:
    from super_advanced_agents.embeddings import EmbeddingPipeline
    from super_advanced_agents.generation import LLMGenerator

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as of what a shell starts in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # else the programs that tests start would ignore it too
uvloop.new_event_loop().close()  # so that its pipe for signals, one for a process, is no leak of the first test
settings.register_profile("project", deadline=None, print_blob=True)  # no test is timed
settings.load_profile("project")

_GRACE_S = 10.0
"""Seconds that a thread may take to end before it counts as leaked; only a leak takes that long."""

_IGNORED_THREADS = ("tqdm_monitor", "AnyIO worker thread", "asyncio_")
"""Threads of other libraries that end by themselves, after the test or with the process."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--campaign", action="store_true", help="many more cycles for crash and load tests")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--campaign"):
        return
    campaigns = [item for item in items if item.get_closest_marker("load")]
    if campaigns:
        config.hook.pytest_deselected(items=campaigns)
        items[:] = [item for item in items if not item.get_closest_marker("load")]


@pytest.fixture(scope="session")
def campaign(pytestconfig: pytest.Config) -> int:
    """Return the factor for the cycles of a test that repeats itself: 1, or 10 with `--campaign`."""
    return 10 if pytestconfig.getoption("--campaign") else 1


@pytest.fixture(autouse=True)
def _forbid_blocking_calls_in_async_tests(request: pytest.FixtureRequest) -> Iterator[None]:
    """Raise `BlockingError` when the package blocks the event loop of an asynchronous test.

    Waiting for an event, a queue, a file or a socket is caught; `with lock:` around a few statements is not, and does
    not have to be. Tests that call a blocking form inside a loop have the mark `@pytest.mark.blocks_loop`.
    """
    if not inspect.iscoroutinefunction(request.function) or request.node.get_closest_marker("blocks_loop"):
        yield
        return
    with blockbuster_ctx("super_advanced_agents"):
        yield


@pytest.fixture(scope="session")
def embedder() -> Iterator[EmbeddingPipeline]:
    """Load the default embedding model once for each test process; `make test` has pulled it."""
    from super_advanced_agents.embeddings import EmbeddingPipeline

    with EmbeddingPipeline() as pipeline:
        pipeline.embed("ready")
        yield pipeline


@pytest.fixture(scope="session")
def milvus_url(testrun_uid: str) -> Iterator[str]:
    """Return the URL of a Milvus server, without a collection: `SAA_TEST_MILVUS_URL`, or one that the tests start."""
    from pymilvus import MilvusClient
    from tests.milvus_engine import shared_server

    url = os.environ.get("SAA_TEST_MILVUS_URL") or shared_server(testrun_uid)
    client = MilvusClient(uri=url.replace("milvus:", "http:"), dedicated=True)  # gRPC's threads exist as long as any
    yield url
    client.close()


@pytest.fixture(scope="session")
def llm() -> Iterator[LLMGenerator]:
    """Load the default language model once for each test process; `make test` has pulled it."""
    from super_advanced_agents.generation import LLMGenerator

    with LLMGenerator() as generator:
        generator.generate("Hello", max_length=1)
        yield generator


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Return the URL of a PostgreSQL server with pgvector: `SAA_TEST_POSTGRES_URL`, else one of the test process."""
    if url := os.environ.get("SAA_TEST_POSTGRES_URL"):
        yield url
        return
    from tests.postgres import running_server

    with running_server({"fsync": "off"}) as server:
        yield server.url


@pytest.fixture
def postgres_schema_url(postgres_url: str) -> Iterator[str]:
    """Return the URL of an empty schema in the PostgreSQL server, which is dropped after the test."""
    from tests.postgres import fresh_schema

    with fresh_schema(postgres_url) as url:
        yield url


_SESSION_THREADS = {"embedder": ("embeddings",), "llm": ("generation",)}
"""Threads of session fixtures, which start and end with their work and outlive a test."""


@pytest.fixture(autouse=True)
def _fail_on_leaked_threads_and_files(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a thread running or a file or socket open."""
    ignored = _IGNORED_THREADS
    for name in _SESSION_THREADS.keys() & set(request.fixturenames):
        ignored += _SESSION_THREADS[name]
    threads_before, files_before = set(threading.enumerate()), _open_files()
    yield
    deadline = time.monotonic() + _GRACE_S
    started = [t for t in threading.enumerate() if t not in threads_before and not t.name.startswith(ignored)]
    for thread in started:
        thread.join(max(0.0, deadline - time.monotonic()))
    running = sorted(thread.name for thread in started if thread.is_alive())
    assert not running, f"threads still running after the test: {running}"
    if _open_files() - files_before:
        gc.collect()  # closes files that only a reference cycle holds
    while (left := _open_files() - files_before) and time.monotonic() < deadline:
        time.sleep(0.01)  # a library's own threads may close files a moment later
    opened = sorted(target for _, target in left)
    assert not opened, f"still open after the test: {opened}"


def _open_files() -> set[tuple[str, str]]:
    """Return the open descriptors with their targets; none on systems other than Linux."""
    if sys.platform != "linux":
        return set()
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except FileNotFoundError:  # the listing's own descriptor
            continue
        if target == "anon_inode:[eventfd]":
            # gRPC makes its own anew after each fork of the test process: their number counts, not their descriptors.
            found.add((f"eventfd {sum(name.startswith('eventfd') for name, _ in found)}", target))
        elif not target.startswith(("/dev/", "/proc/", "/var/lib/libuuid/")):  # libuuid keeps its clock open
            found.add((descriptor.name, target))
    return found


@pytest.fixture(scope="session")
def project_root() -> Path:
    """Return the root of the checkout, for tests that read the source."""
    return Path(__file__).resolve().parent.parent
