"""The reference of the served rows: the same work in one process, on the core of the server.

`python -m benchmarks.inside FOLDER` opens a store and an agent in the folder. It reads one JSON line of work at a time
from standard input, and answers each with one JSON line: the operations per second.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import uvloop

from benchmarks import programs
from benchmarks.measure import run_callers
from benchmarks.vectors import DIM, blocks, payloads, queries
from super_advanced_agents import AsyncLLMAgent, EmbeddingPipeline, FAISSVectorStore
from super_advanced_agents.stores import VectorStore

CALLERS = 64
TOP_K = 5
_ADDED_AT_ONCE = 1_000


class ReferenceProcess:
    """The process of the reference, which waits while the server is measured."""

    def __init__(self, program: subprocess.Popen[str]) -> None:
        self._program = program

    def measure(self, work: str, **arguments: object) -> float:
        """Let the process do some work, and return its operations per second."""
        stdin, stdout = _pipes(self._program)
        stdin.write(json.dumps({"work": work, **arguments}) + "\n")
        stdin.flush()
        return float(json.loads(stdout.readline()))


@contextmanager
def inside(folder: Path) -> Iterator[ReferenceProcess]:
    """Run the process of the reference on one core inside the block."""
    with programs.on_one_core():
        program = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.inside", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    with program:
        yield ReferenceProcess(program)
        _pipes(program)[0].close()


def _pipes(program: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    assert program.stdin is not None
    assert program.stdout is not None
    return program.stdin, program.stdout


async def wait_until_sealed(store: VectorStore) -> None:
    """Wait until the store has built its graphs in the background."""
    while (await store.astats())["sealing"]:  # noqa: ASYNC110  # the store has no event for it
        await asyncio.sleep(0.5)


class _Worker:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._store = FAISSVectorStore(DIM, folder / "store")
        self._agent = AsyncLLMAgent("default", self._store, EmbeddingPipeline())
        self._vectors: FAISSVectorStore | None = None

    async def remember(self, texts: list[str]) -> int:
        """Store texts as memories of the agent, and return their number."""
        return len(await self._agent.aadd_text_memories(texts))

    async def questions(self, texts: list[str]) -> int:
        """Search the agent's memories for each text."""

        async def search(text: str) -> None:
            await self._agent.asearch_text(text, TOP_K)

        await run_callers(CALLERS, texts, search)
        return len(texts)

    async def fill(self, count: int) -> int:
        """Add `count` vectors to the store of vectors, and wait for its graphs."""
        self._vectors = FAISSVectorStore(DIM, self._folder / "vectors")
        for first, vectors in blocks(count):
            for start in range(0, len(vectors), _ADDED_AT_ONCE):
                part = vectors[start : start + _ADDED_AT_ONCE]
                await self._vectors.aadd_batch(part, payloads(first + start, len(part)))
        await wait_until_sealed(self._vectors)
        return count

    async def nearest(self, count: int) -> int:
        """Search the store of vectors with `count` queries."""
        assert self._vectors is not None
        store = self._vectors
        await run_callers(CALLERS, queries(count), store.asearch)
        return count

    async def add(self, name: str, count: int) -> int:
        """Add `count` vectors to a new store in calls of 1,000."""
        async with FAISSVectorStore(DIM, self._folder / name) as store:
            for first, vectors in blocks(count):
                for start in range(0, len(vectors), _ADDED_AT_ONCE):
                    part = vectors[start : start + _ADDED_AT_ONCE]
                    await store.aadd_batch(part, payloads(first + start, len(part)))
        return count

    def execute(self, runner: asyncio.Runner, request: dict[str, Any]) -> float:
        """Do the work that a request names, and return its operations per second."""
        work = getattr(self, request.pop("work"))(**request)
        began = time.perf_counter()
        return runner.run(work) / (time.perf_counter() - began)


def main() -> None:
    """Answer the requests on standard input, line by line, until it ends."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        worker = _Worker(Path(sys.argv[1]))
        for line in sys.stdin:
            print(json.dumps(worker.execute(runner, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
