"""Measure small background jobs, their submission, and an import by a job."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

from benchmarks.lag import lag_row
from benchmarks.measure import Bench, Rates, Row, percentile
from super_advanced_agents.jobs import JobContext, JobLimits, Jobs, JobState, WorkerOptions, job
from super_advanced_agents.jobs.builtin import BUILTIN
from super_advanced_agents.tenancy.importing.applying import Applier
from super_advanced_agents.tenancy.importing.files import Inputs
from super_advanced_agents.tenancy.importing.locations import Locations
from super_advanced_agents.tenancy.importing.planning import Planning
from super_advanced_agents.tenancy.importing.summary import Summary
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.tenancy.settings import Settings

_SMALL_PER_S, _SHARED_PER_S, _SUBMIT_MS, _IMPORT_TARGET = 80, 100, 25.0, 0.9
_SUBMITTERS = 4
_LIMITS = JobLimits(running=64)


@job()
async def small(context: JobContext, number: int) -> int:
    """Do one step that does nothing."""

    async def step() -> int:
        return number

    return await context.step("only", step)


def rows(bench: Bench) -> Iterator[Row]:
    """Yield the rows of small jobs in SQLite and PostgreSQL, and of an import."""
    n = 200 if bench.quick else 1_000
    rate, submit_ms = bench.loop.run(_small(str(bench.folder / "small"), n, workers=1))
    yield _rate_row("small jobs, SQLite", rate, _SMALL_PER_S)
    late = percentile(submit_ms, 0.99)
    yield Row(
        "submission of a job, SQLite",
        f"p50 {percentile(submit_ms, 0.5):.1f}, p99 {late:.1f} ms",
        target=f"p99 <= {_SUBMIT_MS:g} ms",
        reached=late <= _SUBMIT_MS,
        details={"p99_ms": late},
    )
    with ExitStack() as stack:
        url = os.environ.get("SAA_TEST_POSTGRES_URL") or _start_server(stack)
        rate, _ = bench.loop.run(_small(url, n, workers=2))
    yield _rate_row("small jobs, PostgreSQL, two workers", rate, _SHARED_PER_S)
    yield from _imports(bench)


def _start_server(stack: ExitStack) -> str:
    from tests.postgres import running_server

    return stack.enter_context(running_server()).url


def _rate_row(work: str, rate: float, target: float) -> Row:
    return Row(work, f"{rate:,.0f}/s", target=f">= {target:g}/s", reached=rate >= target, details={"per_s": rate})


async def _small(place: str, n: int, *, workers: int) -> tuple[float, list[float]]:
    # From the first submission to the last end, submitted by four callers beside the workers.
    stop, submit_ms = asyncio.Event(), list[float]()
    async with Jobs(place, [small]) as jobs:
        await jobs.aopen()
        others = [Jobs(place, [small]) for _ in range(workers - 1)]
        for other in others:
            await other.aopen()
        options = WorkerOptions(queues={"default": 8}, limits=_LIMITS)
        running = [asyncio.create_task(each.worker(options=options).arun(stop)) for each in (jobs, *others)]
        began = time.perf_counter()

        async def submit(first: int) -> None:
            for number in range(first, n, _SUBMITTERS):
                at = time.perf_counter()
                await jobs.asubmit(small, {"number": number})
                submit_ms.append(1_000 * (time.perf_counter() - at))

        await asyncio.gather(*(submit(first) for first in range(_SUBMITTERS)))
        seen = 0
        while (await jobs.backend.acount()).get(JobState.SUCCEEDED, 0) < n:
            seen = await jobs.backend.await_work(seen, 0.1)
        took_s = time.perf_counter() - began
        stop.set()
        await asyncio.gather(*running)
        for other in others:
            await other.aclose()
    return n / took_s, submit_ms


def _imports(bench: Bench) -> Iterator[Row]:
    texts = [turn.memory for conversation in bench.conversations for turn in conversation.turns]
    rounds, ours, reference = 1 if bench.quick else 3, list[float](), list[float]()
    lags: list[float] = []
    for number in range(rounds):
        chosen = texts[: 400 if bench.quick else 3_000]
        for through_job in (True, False):
            data_dir = bench.folder / f"import-{number}-{through_job}"
            _write(data_dir / "files" / "default" / "notes", chosen)
            stored, took_s, since = bench.loop.run(_import(bench, data_dir, through_job=through_job))
            if through_job:
                lags += bench.loop.lags_ms[since:]
            (ours if through_job else reference).append(stored / took_s)
            shutil.rmtree(data_dir)
    yield Rates(ours, reference).row("import of a folder by a job", "without a job", _IMPORT_TARGET)
    yield lag_row("event loop lag, the inner worker imports", lags)


def _write(folder: Path, texts: list[str]) -> None:
    folder.mkdir(parents=True)
    for first in range(0, len(texts), 100):
        paragraphs = "\n\n".join(f"## Note {first + i}\n\n{text}" for i, text in enumerate(texts[first : first + 100]))
        (folder / f"notes-{first:05}.md").write_text(paragraphs, encoding="utf-8")


async def _import(bench: Bench, data_dir: Path, *, through_job: bool) -> tuple[int, float, int]:
    # Returns the memories stored, the seconds, and the number of samples of lag before.
    settings = Settings.load(data_dir=data_dir, auth=False)
    async with Runtime(settings) as runtime:
        await runtime.aopen()
        await runtime.pipeline.aembed("ready")
        if not through_job:
            agent = runtime.agent_of(runtime.memories("default"), "default", "default")
            began = time.perf_counter()
            stored = await asyncio.to_thread(_import_in_process, data_dir, agent)
            return stored, time.perf_counter() - began, 0
        async with Jobs(data_dir / "jobs", BUILTIN, runtime=runtime) as jobs:
            await jobs.aopen()
            stop = asyncio.Event()
            working = asyncio.create_task(jobs.worker().arun(stop))
            since, began = len(bench.loop.lags_ms), time.perf_counter()
            info = await jobs.asubmit("import_files", {"path": "notes"})
            result = await jobs.aresult(info.id)
            took_s = time.perf_counter() - began
            stop.set()
            await working
            assert isinstance(result, dict)
            assert isinstance(result["stored"], int)
            return result["stored"], took_s, since


def _import_in_process(data_dir: Path, agent: object) -> int:
    summary = Summary()
    with ExitStack() as stack:
        planning = Planning(
            inputs=Inputs([data_dir / "files" / "default" / "notes"], stack),
            locations=Locations(None),
            memory_type="document",
            forced=None,
            sync=False,
            summary=summary,
            on_rejected=lambda _: None,
        )
        with closing(planning.plan(list(planning.inputs.find()), agent)) as plan:  # type: ignore[arg-type]
            Applier(agent, summary=summary, on_stored=lambda _: None, on_rejected=lambda _: None).apply(plan)  # type: ignore[arg-type]
    return summary.stored
