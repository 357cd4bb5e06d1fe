"""`kill -9` under concurrent writes loses no acknowledged write, tears none, and brings no deleted record back."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.crash.writers import BUFFER_ROWS, DIM, WRITERS, vector

from super_advanced_agents import FAISSVectorStore

pytestmark = pytest.mark.crash
StartChild = Callable[..., "subprocess.Popen[str]"]
CYCLES = 20

State = dict[str, "tuple[int, int]"]
"""For each name the tag and the group it holds."""


@dataclass
class _Expected:
    """The states that a writer's records may have: all acknowledged writes, or also the pending one, whole."""

    acknowledged: State
    with_pending: State | None


def state_after(state: State, operation: list[Any]) -> State:
    kind, tag, names, group = operation
    if kind in ("batch", "one"):
        return {**state, **dict.fromkeys(names, (tag, group))}
    if kind == "delete":
        return {name: held for name, held in state.items() if name not in names}
    return {name: held for name, held in state.items() if held[1] != group}


def _expected(log: Path, before: list[State]) -> list[_Expected]:
    acknowledged = list(before)
    pending: list[list[Any] | None] = [None] * WRITERS
    for line in log.read_text().splitlines():
        mark, writer, operation = line.split(" ", 2)
        if mark == ">":
            pending[int(writer)] = json.loads(operation)
        else:
            acknowledged[int(writer)] = state_after(acknowledged[int(writer)], json.loads(operation))
            pending[int(writer)] = None
    return [
        _Expected(state, None if operation is None else state_after(state, operation))
        for state, operation in zip(acknowledged, pending, strict=True)
    ]


def states_found(store: FAISSVectorStore) -> list[State]:
    """Return what each writer's records hold, after checking that they are whole in every way of reading."""
    records = store.scan(limit=1_000)
    states: list[State] = [{} for _ in range(WRITERS)]
    for record in records:
        tag, writer, group = (record.metadata[name] for name in ("tag", "writer", "group"))
        assert isinstance(tag, int)
        assert isinstance(writer, int)
        assert isinstance(group, int)
        assert record.text == f"text {tag}"
        np.testing.assert_array_equal(record.vector, vector(tag))
        states[writer][record.uid] = (tag, group)
    uids = {record.uid for record in records}
    assert {record.uid for record in store.get(sorted(uids))} == uids
    assert {match.uid for match in store.search(np.ones(DIM), 1_000)} == uids
    assert store.count() == len(uids)
    all_uids = [f"w{writer}-{i:02d}" for writer in range(WRITERS) for i in range(40)]
    assert {record.uid for record in store.get(all_uids)} == uids, "a deleted record came back"
    for writer, state in enumerate(states):
        assert store.count({"writer": writer}) == len(state)
    for record in records[::7]:
        near = store.search(record.vector, 1_000, where={"tag": record.metadata["tag"]})
        assert record.uid in {match.uid for match in near}
        assert near[0].score == pytest.approx(1.0, abs=1e-5)
    return states


def _check(states: list[State], expected: list[_Expected]) -> None:
    for writer, (state, allowed) in enumerate(zip(states, expected, strict=True)):
        if state != allowed.acknowledged:
            assert state == allowed.with_pending, f"writer {writer} lost or tore a write"


def test_kill_9_under_concurrent_writes_loses_no_acknowledged_write(
    start_child: StartChild, tmp_path: Path, campaign: int
) -> None:
    """Twenty kills hit one store, a fifth of them while it is being opened."""
    rng = random.Random(7)  # times of the kills, not secrets
    states: list[State] = [{} for _ in range(WRITERS)]
    acknowledged_count = unopened_count = 0
    opening_s = 0.05
    writers = start_child("writers.py")
    assert writers.stdin is not None
    assert writers.stdout is not None
    for cycle in range(CYCLES * campaign):
        log = tmp_path / f"log-{cycle}"
        print(tmp_path / "store", log, cycle, file=writers.stdin, flush=True)
        pid = int(writers.stdout.readline())
        began = time.perf_counter()
        if cycle % 5 != 4:
            assert writers.stdout.readline() == "ready\n"
            opening_s = time.perf_counter() - began
            assert writers.stdout.readline() == "begun\n"
        # some moment of its opening, or in the middle of writing
        time.sleep(rng.uniform(0, opening_s) if cycle % 5 == 4 else rng.uniform(0.02, 0.3))
        os.kill(pid, signal.SIGKILL)
        lines = []
        while (line := writers.stdout.readline()) != "gone\n":
            assert line, writers.communicate()[1]
            lines.append(line)
        unopened_count += cycle % 5 == 4 and not lines
        acknowledged_count += log.read_text().count("<") if log.exists() else 0
        expected = _expected(log, states) if log.exists() else [_Expected(state, None) for state in states]
        with FAISSVectorStore(DIM, tmp_path / "store", index="hnsw", buffer_rows=BUFFER_ROWS) as store:
            states = states_found(store)
        _check(states, expected)
    assert acknowledged_count > 20 * campaign, "the writers were killed before they wrote anything worth checking"
    assert unopened_count, "no child was killed before it had opened the store"
    print(
        f"{acknowledged_count} writes acknowledged in {CYCLES * campaign} cycles; "
        f"{unopened_count} were killed before the store was open"
    )


@pytest.mark.parametrize("moment", ["filled", "sealed"])
def test_killed_store_reopens_with_every_acknowledged_row(
    start_child: StartChild, tmp_path: Path, campaign: int, moment: str
) -> None:
    """The campaign uses 100,000 rows and prints how long the recovery takes."""
    rows = 100_000 if campaign > 1 else 2_000
    child = start_child("filled.py", tmp_path / "store", rows)
    assert child.stdout is not None
    assert child.stdout.readline() == "filled\n"
    if moment == "sealed":
        assert child.stdout.readline() == "sealed\n"
    child.kill()
    child.wait()
    began = time.perf_counter()
    with FAISSVectorStore(384, tmp_path / "store") as store:
        assert store.count() == rows
        counted_s = time.perf_counter() - began
        assert len(store.search(np.ones(384), 10)) == 10
        print(f"{rows} rows, killed when {moment}: counted after {counted_s:.2f} s,", end=" ")
        print(f"searched after {time.perf_counter() - began:.2f} s; {store.stats()}")
        assert len(store.get([f"{i:06d}" for i in range(0, rows, rows // 500)])) == 500


def test_kill_check_detects_lost_torn_and_returned_records() -> None:
    """A missing write, a half batch and a deleted record that is back are each found."""
    acknowledged: State = {"w0-00": (1, 0), "w0-01": (1, 0)}
    batch: State = {**acknowledged, "w0-02": (2, 0), "w0-03": (2, 0)}
    for wrong in ({}, {"w0-00": (1, 0)}, {**acknowledged, "w0-02": (2, 0)}, {**acknowledged, "w0-09": (0, 0)}):
        with pytest.raises(AssertionError):
            _check([wrong], [_Expected(acknowledged, batch)])
    _check([acknowledged], [_Expected(acknowledged, batch)])
    _check([batch], [_Expected(acknowledged, batch)])
