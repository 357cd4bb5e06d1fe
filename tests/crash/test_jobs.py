"""Jobs whose workers and databases are killed: every effect once, none lost, none stuck."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.crash.working import STEPS, create, effects, written
from tests.postgres import PostgresServer, running_server

from super_advanced_agents.jobs import Jobs

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
        assert len(jobs.list(state="succeeded", limit=1_000)) == min(n, 1_000)
        assert [len(jobs.list(state=state)) for state in ("queued", "running", "failed", "cancelled")] == [0] * 4


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


def test_jobs_in_postgresql_survive_kills_of_workers_and_of_the_database(tmp_path: Path, campaign: int) -> None:
    """Another worker takes what a killed one had begun, once its lease has run out."""
    with running_server() as server:
        place, file, n, chance = server.url, str(tmp_path / "effects"), 60 * campaign, random.Random(2)
        create(file)
        _submit(place, file, n)
        with _worker(place) as first, _worker(place) as last:
            assert _kill_after(first, 10)
            for round_ in range(3 * campaign):
                with _worker(place) as victim:
                    ended = not _kill_after(victim, chance.randint(5, 40))
                if ended:
                    break
                if round_ % 3 == 1:
                    _restart(server)
            assert last.stdout is not None
            for _ in last.stdout:
                pass
            assert last.wait(_HANGS_S) == 0
        _check(place, file, n)


def _restart(server: PostgresServer) -> None:
    server.stop("immediate")
    server.start()
