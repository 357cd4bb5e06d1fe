"""Searches of one tenant beside another tenant that adds in bulk, on one server.

The server has a core of its own. The reference is the same tenant's searches on the same server with no neighbour, a
few seconds before.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import uvloop

from benchmarks import programs
from benchmarks.driver import Load, drive, request
from benchmarks.measure import Bench, Row, percentile, take_for
from benchmarks.served import SAA, Served, server

_BULK_CLIENTS = 4
_TEXTS, _WORDS = 200, 150
_KNOWN = 300
_AT_MOST_MS = 500.0
_AT_MOST_TIMES = 2.0
_AT_MOST_MIB = 150.0


@dataclass(frozen=True, slots=True)
class _Round:
    alone_ms: list[float]
    beside_ms: list[float]
    added_per_s: float
    growth_mib: float


def rows(bench: Bench) -> Iterator[Row]:
    """Yield the latency of searches beside another tenant's bulk writes, and the memory."""
    seconds, rounds = (4.0, 2) if bench.quick else (15.0, 4)
    folder = bench.folder / "neighbours"
    with (
        server(folder) as served,
        programs.off_that_core(),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        searcher, writer = (_Caller.of(folder, tenant) for tenant in ("searcher", "writer"))
        memories = [{"text": f"note {i} is about subject {i % 37}"} for i in range(_KNOWN)]
        runner.run(_send(served, [searcher.remember(memories)]))
        found = [runner.run(_round(served, searcher, writer, seconds)) for _ in range(rounds)]
    alone, beside = ([ms for one in found for ms in getattr(one, side)] for side in ("alone_ms", "beside_ms"))
    details = {"alone_ms": _summary(alone), "beside_ms": _summary(beside), "rounds": rounds, "seconds": seconds}
    p95 = percentile(beside, 0.95)
    work = f"REST search of a tenant, beside {_BULK_CLIENTS} clients of another that add {_TEXTS} texts a call"
    yield Row(
        f"{work} ({median(one.added_per_s for one in found):.0f} texts/s), p95",
        f"{p95:.1f} ms",
        f"{percentile(alone, 0.95):.1f} ms alone",
        f"{p95 / percentile(alone, 0.95):.2f}x",
        f"<= {_AT_MOST_MS:g} ms",
        p95 <= _AT_MOST_MS,
        details,
    )
    times = median(percentile(one.beside_ms, 0.99) / percentile(one.alone_ms, 0.99) for one in found)
    yield Row(
        f"{work}, p99",
        f"{percentile(beside, 0.99):.1f} ms",
        f"{percentile(alone, 0.99):.1f} ms alone",
        f"{times:.2f}x",
        f"<= {_AT_MOST_TIMES:g}x",
        times <= _AT_MOST_TIMES,
        details,
    )
    growth = max(one.growth_mib for one in found)
    yield Row(
        "highest resident memory of the server meanwhile, above that before",
        f"{growth:.0f} MiB",
        target=f"<= {_AT_MOST_MIB:g} MiB",
        reached=growth <= _AT_MOST_MIB,
    )


@dataclass(frozen=True, slots=True)
class _Caller:
    headers: dict[str, str]

    @classmethod
    def of(cls, folder: Path, tenant: str) -> _Caller:
        scopes = ("--scope", "memories:read", "--scope", "memories:write")
        command = [*SAA, "keys", "create", "--tenant", tenant, *scopes, "--data-dir", str(folder), "--json"]
        created = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        return cls({"Authorization": f"Bearer {json.loads(created.stdout)['key']}"})

    def remember(self, memories: list[dict[str, str]]) -> bytes:
        return request("/v1/agents/default/memories", {"memories": memories}, self.headers)

    def search(self, number: int) -> bytes:
        return request("/search", {"query": f"which note is about subject {number}?", "top_k": 10}, self.headers)


_numbers = itertools.count()


async def _round(served: Served, searcher: _Caller, writer: _Caller, seconds: float) -> _Round:
    alone = await _searches(served, searcher, seconds)
    before = _peak_mib(served.pid)
    async with asyncio.TaskGroup() as group:
        bulk = group.create_task(
            drive("127.0.0.1", served.port, take_for(seconds + 2, _bulk(writer)), connections=_BULK_CLIENTS)
        )
        await asyncio.sleep(1)  # until the neighbour's texts fill the queue
        beside = await _searches(served, searcher, seconds)
    added = bulk.result()
    if max(added.statuses) >= 300:
        raise RuntimeError(f"the server answered the neighbour {added.statuses}")
    return _Round(
        alone.latencies_ms,
        beside.latencies_ms,
        added.per_s * _TEXTS,
        _peak_mib(served.pid) - before,
    )


def _bulk(writer: _Caller) -> Iterator[bytes]:
    while True:
        texts = [f"{next(_numbers)} " + "lorem ipsum dolor " * (_WORDS // 3) for _ in range(_TEXTS)]
        yield writer.remember([{"text": text} for text in texts])


async def _searches(served: Served, searcher: _Caller, seconds: float) -> Load:
    questions = take_for(seconds, (searcher.search(number) for number in _numbers))
    return await _send(served, questions)


async def _send(served: Served, requests: Iterator[bytes] | list[bytes]) -> Load:
    load = await drive("127.0.0.1", served.port, requests, connections=1)
    if max(load.statuses) >= 300:
        raise RuntimeError(f"the server answered {load.statuses}")
    return load


def _peak_mib(pid: int) -> float:
    """Return the highest resident memory of a process since the last call."""
    status = Path(f"/proc/{pid}/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return peak / 1024


def _summary(took_ms: list[float]) -> dict[str, float]:
    return {
        name: percentile(took_ms, share) for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1))
    }
