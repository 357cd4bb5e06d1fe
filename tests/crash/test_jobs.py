"""Jobs whose workers and databases are killed: every effect once, none lost, none stuck."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest
from tests.crash.working import STEPS, create, effects, written
from tests.postgres import PostgresServer, running_server

from super_advanced_agents._runtime.concurrency.sync_bridge import run_sync
from super_advanced_agents.errors import SuperAdvancedAgentsError
from super_advanced_agents.jobs import Jobs, JobState

pytestmark = pytest.mark.crash
_ROOT = Path(__file__).resolve().parent.parent.parent
_HANGS_S = 240
"""Far more than any of this takes."""


def _submit(place: str, file: str, n: int) -> None:
    with Jobs(place, [effects]) as jobs:
        jobs.open()
        for number in range(n):
            jobs.submit(effects, {"number": number, "file": file})


@contextmanager
def _worker(place: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.crash.working", place]
    process = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _kill_after(process: subprocess.Popen[str], lines: int) -> bool:
    """Kill a worker once it has printed so many lines; return False if it came to its end before."""
    assert process.stdout is not None
    for _ in range(lines):
        if not process.stdout.readline():
            assert process.wait(_HANGS_S) == 0
            return False
    process.send_signal(signal.SIGKILL)
    process.wait(_HANGS_S)
    return True


def _check(place: str, file: str, n: int) -> None:
    assert written(file) == [(number, step) for number in range(n) for step in range(STEPS)]
    with Jobs(place, [effects]) as jobs:
        jobs.open()
        assert run_sync(jobs.backend.acount()) == {JobState.SUCCEEDED: n}


def test_jobs_in_a_file_survive_kills_of_their_process(tmp_path: Path, campaign: int) -> None:
    """The process that opens the file next goes on with what the killed one had begun."""
    place, file, n, chance = str(tmp_path / "jobs"), str(tmp_path / "effects"), 40 * campaign, random.Random(1)
    create(file)
    _submit(place, file, n)
    kills = 0
    while True:
        with _worker(place) as process:
            if not _kill_after(process, chance.randint(1, 40)):
                break
            kills += 1
    assert kills >= campaign
    _check(place, file, n)


def test_jobs_in_postgresql_survive_kills_restarts_and_jumps_of_the_clock(
    tmp_path: Path, campaign: int, shims: Callable[[str], Path]
) -> None:
    """Another worker takes what a killed one had begun, once its lease has run out; clocks jump by a day meanwhile."""
    n, restarts = (2_000, 5) if campaign > 1 else (90, 1)
    file, chance = str(tmp_path / "effects"), random.Random(2)
    create(file)
    with running_server() as server, _Fleet(server.url, shims("shifted_clock")) as fleet:
        _submit(server.url, file, n)
        with Jobs(server.url, [effects]) as jobs:
            jobs.open()
            restarted, killed_at = 0, time.monotonic()
            while (done := _wait_for_kill(jobs, n, fleet.kills, campaign)) < n:
                fleet.kill_one(chance)
                killed_at = time.monotonic()
                if done >= (restarted + 1) * n / (restarts + 1):
                    _restart(server)
                    restarted += 1
            ended_s = time.monotonic() - killed_at
        assert restarted == restarts
        fleet.wait()
        print(f"{n} jobs, {fleet.kills} kills, {restarts} restarts; all ended {ended_s:.1f} s after the last kill")
        _check(server.url, file, n)


def _wait_for_kill(jobs: Jobs, n: int, kills: int, campaign: int) -> int:
    """Wait for 2 seconds in a campaign, else until some more jobs are done; return how many are."""
    until = time.monotonic() + (2 if campaign > 1 else _HANGS_S)
    while True:
        try:
            done = run_sync(jobs.backend.acount()).get(JobState.SUCCEEDED, 0)
        except SuperAdvancedAgentsError:  # the database restarts
            done = 0
        if done >= n or time.monotonic() > until or (campaign == 1 and done >= 15 * (kills + 1)):
            return done
        time.sleep(0.02)


class _Fleet:
    """Three worker processes whose clocks jump about; one that is killed is replaced."""

    def __init__(self, place: str, shim: Path) -> None:
        self._command = [sys.executable, "-m", "tests.crash.working", place]
        self._environment = {**os.environ, "LD_PRELOAD": str(shim)}
        self._workers: list[subprocess.Popen[bytes]] = []
        self.kills = 0

    def __enter__(self) -> Self:
        for _ in range(3):
            self._start()
        return self

    def __exit__(self, *raised: object) -> None:
        for worker in self._workers:
            worker.kill()
            worker.wait()

    def _start(self) -> None:
        worker = subprocess.Popen(self._command, cwd=_ROOT, stdout=subprocess.DEVNULL, env=self._environment)
        self._workers.append(worker)

    def kill_one(self, chance: random.Random) -> None:
        """Kill a worker with SIGKILL, and start another one."""
        victim = self._workers.pop(chance.randrange(len(self._workers)))
        victim.kill()
        victim.wait()
        self.kills += 1
        self._start()

    def wait(self) -> None:
        """Wait until the workers have found no job left."""
        for worker in self._workers:
            assert worker.wait(_HANGS_S) == 0


def _restart(server: PostgresServer) -> None:
    server.stop("immediate")
    server.start()
