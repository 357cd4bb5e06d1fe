"""Backups beside a writing process are consistent, and killed backups, restores and exports are whole or absent."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from tests.crash.test_kill import State, state_after, states_found
from tests.crash.writers import DIM, WRITERS

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.stores.faiss.maintenance.backup import back_up, read_backup
from super_advanced_agents.stores.faiss.maintenance.restore import restore
from super_advanced_agents.stores.transfer import export_records
from super_advanced_agents.types import Record

pytestmark = pytest.mark.crash
StartChild = Callable[..., "subprocess.Popen[str]"]
GRAPHS = {"index": "hnsw", "buffer_rows": 64}


def _possible_states(log: Path, log_bytes_before: int) -> list[list[State]]:
    """Return for each writer every state that a backup may hold.

    They go from what was acknowledged in the first bytes of the log to what was requested by its end.
    """
    states: list[list[State]] = [[{}] for _ in range(WRITERS)]
    acknowledged = [0] * WRITERS
    bytes_read = 0
    for line in log.read_text().splitlines(keepends=True):
        mark, writer, operation = line.split(" ", 2)
        if mark == ">":
            states[int(writer)].append(state_after(states[int(writer)][-1], json.loads(operation)))
        elif bytes_read < log_bytes_before:
            acknowledged[int(writer)] += 1
        bytes_read += len(line)
    return [each[acknowledged[writer] :] for writer, each in enumerate(states)]


def test_backup_beside_a_writing_process_is_consistent(start_child: StartChild, tmp_path: Path, campaign: int) -> None:
    """It holds all writes that were acknowledged before it began, and whole writes only, in order."""
    log = tmp_path / "log"
    child = start_child("writers.py", tmp_path / "store", log, 1)
    assert child.stdout is not None
    assert [child.stdout.readline(), child.stdout.readline()] == ["ready\n", "begun\n"]
    rng = random.Random(3)
    log_sizes = []
    for cycle in range(4 * campaign):
        time.sleep(rng.uniform(0, 0.1))  # some moment in the middle of writing
        log_sizes.append(log.stat().st_size)
        back_up(tmp_path / "store", tmp_path / f"copy-{cycle}")
    assert child.poll() is None, "the writers did not outlive the backups"
    child.send_signal(signal.SIGKILL)
    child.communicate()
    for cycle, log_bytes_before in enumerate(log_sizes):
        assert restore(tmp_path / f"copy-{cycle}", tmp_path / "store", force=True) is not None
        with FAISSVectorStore(DIM, tmp_path / "store", **GRAPHS) as store:
            for writer, state in enumerate(states_found(store)):
                assert state in _possible_states(log, log_bytes_before)[writer], (
                    f"the copy tears a write of writer {writer}"
                )


@pytest.fixture
def stores(tmp_path: Path) -> tuple[Path, Path]:
    """Return the folder of a store of a few megabytes, and a backup of a smaller one."""
    for name, n in (("source", 300), ("old", 200)):
        with FAISSVectorStore(4, tmp_path / name) as store:
            store.add_batch(np.ones((n, 4)), [{"filling": "x" * 16_000}] * n)
            if name == "old":
                store.backup(tmp_path / "saved")
    return tmp_path / "source", tmp_path / "saved"


def _records(folder: Path) -> int:
    with FAISSVectorStore(4, folder) as store:
        assert len(store.scan(limit=1_000)) == store.count()
        return store.count()


def _run_to_its_end(start_child: StartChild, *arguments: object) -> bool:
    """Return whether a run came to its end; otherwise it was killed."""
    child = start_child("saving.py", *arguments)
    output, errors = child.communicate()
    assert child.returncode == (0 if output else -signal.SIGKILL), errors
    return output == "done\n"


def test_killed_backup_is_whole_or_absent(
    start_child: StartChild, stores: tuple[Path, Path], tmp_path: Path, campaign: int
) -> None:
    """The kill hits one file operation after the other; what it leaves does not disturb the next backup."""
    source, _ = stores
    target = tmp_path / "copy"
    for moment in count(1, 4 if campaign == 1 else 1):
        ended = _run_to_its_end(start_child, "backup", source, target, moment)
        if ended or target.exists():
            restore(target, tmp_path / "restored", force=True)  # which checks every byte
            assert read_backup(target).records == _records(tmp_path / "restored") == 300
            target.rename(tmp_path / f"copy-{moment}")
        if ended:
            assert moment > 8, "it was never killed in the middle"
            return
    assert _records(source) == 300


def test_killed_restore_leaves_the_old_store_the_new_one_or_none(
    start_child: StartChild, stores: tuple[Path, Path], tmp_path: Path, campaign: int
) -> None:
    """Where none is left, the old one lies beside it, and the same command restores."""
    source, saved = stores
    seen = set()
    for moment in count(1, 4 if campaign == 1 else 1):
        ended = _run_to_its_end(start_child, "restore", saved, source, moment)
        asides = list(tmp_path.glob("source.before-restore-*"))
        found = _records(source) if (source / "memory.sqlite3").exists() else 0
        seen.add(found)
        assert found in (300, 200, 0)
        if found != 300:
            assert [_records(aside) for aside in asides] == [300]
            if found == 0:
                assert not source.exists()
                restore(saved, source)
                assert _records(source) == 200
            shutil.rmtree(source)
            asides[0].rename(source)
        if ended:
            assert found == 200
            assert {200, 300} <= seen
            return


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_killed_export_keeps_the_older_file_and_killed_import_can_be_repeated(
    start_child: StartChild, tmp_path: Path, campaign: int, ending: str
) -> None:
    """The older export is replaced when the new one is whole."""
    source, target, copy = tmp_path / "store", tmp_path / f"all.{ending}", tmp_path / "copy"
    with FAISSVectorStore(4, source) as store:
        for start in range(0, 3_000, 500):
            store.add_batch(np.ones((500, 4)), [{"text": f"text {start + i}"} for i in range(500)])
        export_records(store, target, where={"text": "text 1"})
        names = [record.uid for record in _all(store)]
    older = target.read_bytes()
    for moment in count(5, 16 if campaign == 1 else 1):
        ended = _run_to_its_end(start_child, "export", source, target, moment)
        if target.read_bytes() != older:
            break
        assert not ended
    for moment in count(5, 16 if campaign == 1 else 1):
        ended = _run_to_its_end(start_child, "import", target, copy, moment)
        with FAISSVectorStore(4, copy) as store:
            found = [record.uid for record in _all(store)]
            assert found == names[: len(found)]
            assert len(found) % 1_000 == 0
            if ended:
                assert found == names
                return
            if moment % 5 == 0:
                store.delete(where={})


def _all(store: FAISSVectorStore) -> list[Record]:
    found: list[Record] = []
    while page := store.scan(after=found[-1].uid if found else None, limit=1_000):
        found += page
    return found
