"""The reference of the served rows: the same work in one process, on the server's core, with no server between.

`python -m benchmarks.inside FOLDER` opens a store and an agent there, then takes one JSON line of work at a time from
standard input, and answers each with one JSON line: how many things a second.
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
from benchmarks.measure import crowd
from benchmarks.vectors import DIM, blocks, payloads, queries
from super_advanced_agents import AsyncLLMAgent, EmbeddingPipeline, FAISSVectorStore
from super_advanced_agents.stores import VectorStore

CALLERS = 64
TOP_K = 5
_ADDED_AT_ONCE = 1_000


class Inside:
    """The reference's process, which waits while the server is measured."""

    def __init__(self, program: subprocess.Popen[str]) -> None:
        self._program = program

    def ask(self, work: str, **arguments: object) -> float:
        """Have some work done, and learn how many things it did a second."""
        sent, said = _pipes(self._program)
        sent.write(json.dumps({"work": work, **arguments}) + "\n")
        sent.flush()
        return float(json.loads(said.readline()))


@contextmanager
def inside(folder: Path) -> Iterator[Inside]:
    """Begin the reference's process, on one core; ended at the end."""
    with programs.on_one_core():
        program = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.inside", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    with program:
        yield Inside(program)
        _pipes(program)[0].close()


def _pipes(program: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    assert program.stdin is not None
    assert program.stdout is not None
    return program.stdin, program.stdout


async def settled(store: VectorStore) -> None:
    """Wait until the store's background has built its graphs."""
    while (await store.astats())["sealing"]:  # noqa: ASYNC110  # nothing tells of it
        await asyncio.sleep(0.5)


class _Worker:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._store = FAISSVectorStore(DIM, folder / "store")
        self._agent = AsyncLLMAgent("default", self._store, EmbeddingPipeline())
        self._vectors: FAISSVectorStore | None = None

    async def remember(self, texts: list[str]) -> int:
        """Store texts as the agent's memories."""
        return len(await self._agent.aadd_text_memories(texts))

    async def questions(self, texts: list[str]) -> int:
        """Search the agent's memories by each text."""

        async def search(text: str) -> None:
            await self._agent.asearch_text(text, TOP_K)

        await crowd(CALLERS, texts, search)
        return len(texts)

    async def fill(self, count: int) -> int:
        """Put so many vectors into another store."""
        self._vectors = FAISSVectorStore(DIM, self._folder / "vectors")
        for first, vectors in blocks(count):
            for start in range(0, len(vectors), _ADDED_AT_ONCE):
                part = vectors[start : start + _ADDED_AT_ONCE]
                await self._vectors.aadd_batch(part, payloads(first + start, len(part)))
        await settled(self._vectors)
        return count

    async def nearest(self, count: int) -> int:
        """Search that store by so many vectors."""
        assert self._vectors is not None
        store = self._vectors
        await crowd(CALLERS, queries(count), store.asearch)
        return count

    async def add(self, name: str, count: int) -> int:
        """Fill a new store, by calls of 1,000."""
        async with FAISSVectorStore(DIM, self._folder / name) as store:
            for first, vectors in blocks(count):
                for start in range(0, len(vectors), _ADDED_AT_ONCE):
                    part = vectors[start : start + _ADDED_AT_ONCE]
                    await store.aadd_batch(part, payloads(first + start, len(part)))
        return count

    def execute(self, runner: asyncio.Runner, asked: dict[str, Any]) -> float:
        """Do one piece of work; things a second."""
        work = getattr(self, asked.pop("work"))(**asked)
        began = time.perf_counter()
        return runner.run(work) / (time.perf_counter() - began)


def main() -> None:
    """Answer line by line until there is no more."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        worker = _Worker(Path(sys.argv[1]))
        for line in sys.stdin:
            print(json.dumps(worker.execute(runner, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
