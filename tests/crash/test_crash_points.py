"""A process killed before or within every call that changes a file: each operation is there whole, or not at all."""

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


def told(done: list[Step]) -> int:
    """How many operations were acknowledged."""
    return sum(step.kind == "!" and step.path.startswith("told") for step in done)


def _calls(done: list[Step]) -> int:
    return sum(step.kind not in "!w" for step in done)


def check(folder: Path, shape: str, n: int) -> None:
    """The store holds what operations 1 to n left, perhaps with operation n + 1 done whole; it can go on."""
    expected = states()
    with opened(folder, shape) as store:
        assert held(store) in expected[n : n + 2], f"not the state after operation {n}, nor after the next"
        store.add([1.0] * DIM, {"tag": -1}, "later")
        assert store.count({"tag": -1}) == 1


@pytest.mark.parametrize("half", [False, True], ids=["before", "half-way"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_kill_at_any_call_leaves_whole_operations(scripted: Scripted, campaign: int, shape: str, half: bool) -> None:
    """The script runs once to count its calls, then once for each of them (for a sample in the short run)."""
    _, log, status = scripted.run(shape)
    assert status == 0
    done = steps(log)
    assert told(done) == len(operations())
    calls = _calls(done)
    assert calls > 200
    chosen = range(1, calls + 1) if campaign > 1 else range(1 + calls // _SAMPLE // 2, calls + 1, calls // _SAMPLE)
    reached = 0
    for n in chosen:
        folder, log, status = scripted.run(shape, crash_at=n, half=half)
        assert status in (0, signal.SIGKILL)  # the background may make a call less in this run
        reached += status != 0
        done = steps(log)
        check(folder / "store", shape, told(done))
        shutil.rmtree(folder)
    assert reached > len(chosen) * 0.9
    print(f"{shape}: killed at {reached} of {calls} calls")


def test_the_check_notices_a_write_told_too_soon(scripted: Scripted) -> None:
    """With each operation acknowledged before it is begun, a kill in the next call shows one that is not there."""
    _, log, _ = scripted.run("flat", plant="told too soon")
    done = steps(log)
    begun = next(i for i, step in enumerate(done) if step.path == "told 5")
    calls = _calls(done[:begun])
    folder, log, status = scripted.run("flat", plant="told too soon", crash_at=calls + 1)
    assert status == signal.SIGKILL
    with pytest.raises(AssertionError, match="not the state after operation 5"):
        check(folder / "store", "flat", told(steps(log)))
