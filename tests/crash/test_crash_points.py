"""A process is killed at every call that changes a file, and each operation is there whole or not at all."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest
from tests.crash.conftest import Scripted
from tests.crash.script import DIM, SHAPES, held, opened, operations, states
from tests.crash.watched_disk import Step, steps

pytestmark = pytest.mark.crash
_SAMPLE = 8


def acknowledged_count(done: list[Step]) -> int:
    """Return the number of operations that were acknowledged."""
    return sum(step.kind == "!" and step.path.startswith("acknowledged") for step in done)


def _call_count(done: list[Step]) -> int:
    return sum(step.kind not in "!w" for step in done)


def check_store(folder: Path, shape: str, n: int) -> None:
    """Check that the store holds the first n operations, perhaps the next one too, and accepts writes."""
    expected = states()
    with opened(folder, shape) as store:
        assert held(store) in expected[n : n + 2], f"not the state after operation {n}, nor after the next"
        store.add([1.0] * DIM, {"tag": -1}, "later")
        assert store.count({"tag": -1}) == 1


@pytest.mark.parametrize("in_the_middle", [False, True], ids=["before", "half-way"])
@pytest.mark.parametrize("shape", SHAPES)
def test_kill_at_any_file_change_leaves_whole_operations(
    scripted: Scripted, campaign: int, shape: str, in_the_middle: bool
) -> None:
    """A first run counts the calls; then one run is killed at each of them, or at a sample."""
    _, log, status = scripted.run(shape)
    assert status == 0
    done = steps(log)
    assert acknowledged_count(done) == len(operations())
    calls = _call_count(done)
    assert calls > 200
    chosen = range(1, calls + 1) if campaign > 1 else range(1 + calls // _SAMPLE // 2, calls + 1, calls // _SAMPLE)
    reached = 0
    for n in chosen:
        folder, log, status = scripted.run(shape, crash_at=n, in_the_middle=in_the_middle)
        assert status in (0, signal.SIGKILL)  # the background may make a call less in this run
        reached += status != 0
        done = steps(log)
        check_store(folder / "store", shape, acknowledged_count(done))
        shutil.rmtree(folder)
    assert reached >= len(chosen) * 0.75  # the background of a run may make fewer calls
    print(f"{shape}: killed at {reached} of {calls} calls")


def test_crash_check_detects_a_write_acknowledged_too_soon(scripted: Scripted) -> None:
    """Every operation is acknowledged before it begins, so a kill in the next call loses one."""
    _, log, _ = scripted.run("flat", fault="acknowledged too soon")
    done = steps(log)
    begun = next(i for i, step in enumerate(done) if step.path == "acknowledged 5")
    calls = _call_count(done[:begun])
    folder, log, status = scripted.run("flat", fault="acknowledged too soon", crash_at=calls + 1)
    assert status == signal.SIGKILL
    with pytest.raises(AssertionError, match="not the state after operation 5"):
        check_store(folder / "store", "flat", acknowledged_count(steps(log)))
