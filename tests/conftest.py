"""What every test is held to: no blocking call of ours inside an event loop, no thread and no file left behind."""

from __future__ import annotations

import gc
import inspect
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import settings

if TYPE_CHECKING:
    from super_advanced_agents.embeddings import EmbeddingPipeline
    from super_advanced_agents.generation import LLMGenerator

settings.register_profile("project", deadline=None, print_blob=True)  # no test is timed
settings.load_profile("project")

_GRACE_S = 10.0
"""How long a thread that was told to end may take before it counts as leaked; only a leak waits this long."""

_LASTING_THREADS = ("tqdm_monitor", "AnyIO worker thread", "asyncio_")
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
    """By how much a test that repeats itself should multiply its cycles: 1, or 10 with `--campaign`."""
    return 10 if pytestconfig.getoption("--campaign") else 1


@pytest.fixture(autouse=True)
def _loop_is_never_blocked(request: pytest.FixtureRequest) -> Iterator[None]:
    """In an asynchronous test, a blocking call below a frame of the library raises `BlockingError`.

    `with lock:` around a few statements is not caught, and need not be; waiting for an event, a queue, a file or a
    socket is. Tests that call a blocking twin inside a loop say so with `@pytest.mark.blocks_loop`.
    """
    if not inspect.iscoroutinefunction(request.function) or request.node.get_closest_marker("blocks_loop"):
        yield
        return
    with blockbuster_ctx("super_advanced_agents"):
        yield


@pytest.fixture(scope="session")
def embedder() -> Iterator[EmbeddingPipeline]:
    """The default embedding model, loaded once for each test process; `make test` has pulled it."""
    from super_advanced_agents.embeddings import EmbeddingPipeline

    with EmbeddingPipeline() as pipeline:
        pipeline.embed("ready")
        yield pipeline


@pytest.fixture(scope="session")
def llm() -> Iterator[LLMGenerator]:
    """The default language model, loaded once for each test process; `make test` has pulled it."""
    from super_advanced_agents.generation import LLMGenerator

    with LLMGenerator() as generator:
        generator.generate("Hello", max_length=1)
        yield generator


_SESSION_THREADS = {"embedder": ("embeddings",), "llm": ("generation",)}
"""Threads of what outlives a test that uses it: they come and go with the work."""


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test after which a thread it started still runs, or a file or socket it opened is still open."""
    lasting = _LASTING_THREADS
    for name in _SESSION_THREADS.keys() & set(request.fixturenames):
        lasting += _SESSION_THREADS[name]
    threads_before, files_before = set(threading.enumerate()), _open_files()
    yield
    deadline = time.monotonic() + _GRACE_S
    started = [t for t in threading.enumerate() if t not in threads_before and not t.name.startswith(lasting)]
    for thread in started:
        thread.join(max(0.0, deadline - time.monotonic()))
    running = sorted(thread.name for thread in started if thread.is_alive())
    assert not running, f"threads still running after the test: {running}"
    if _open_files() - files_before:
        gc.collect()  # what only a reference cycle kept open
    while (left := _open_files() - files_before) and time.monotonic() < deadline:
        time.sleep(0.01)  # what a library's own threads close a moment later
    opened = sorted(target for _, target in left)
    assert not opened, f"still open after the test: {opened}"


def _open_files() -> set[tuple[str, str]]:
    """(descriptor, what it is open on), where the system tells (Linux)."""
    if sys.platform != "linux":
        return set()
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except FileNotFoundError:  # the listing's own descriptor
            continue
        if not target.startswith(("/dev/", "/proc/")):
            found.add((descriptor.name, target))
    return found


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The checkout's root, for tests that read the source."""
    return Path(__file__).resolve().parent.parent
