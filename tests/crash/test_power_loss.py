"""The power goes: what was not flushed is gone, there, or torn; what was acknowledged is there, and whole."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.crash.conftest import Scripted
from tests.crash.script import SHAPES, operations
from tests.crash.test_crash_points import check, told
from tests.crash.watched_disk import Disk, Step, steps

pytestmark = pytest.mark.crash


def _cuts(done: list[Step]) -> list[int]:
    """Before and after every flush, after every acknowledgement, and the end."""
    cuts = {len(done)}
    for i, step in enumerate(done):
        if step.kind in "S!":
            cuts |= {i, i + 1}
    return sorted(cuts)


def _found_after_cuts(
    folder: Path, done: list[Step], cuts: list[int], seeds: int, place: Path
) -> Iterator[tuple[Path, int]]:
    """For each cut several folders as the disk could have them, and how many operations had been told."""
    disk, taken, made = Disk(folder, "store"), 0, 0
    for cut in cuts:
        for step in done[taken:cut]:
            disk.take(step)
        taken = cut
        n = told(done[:cut])
        for seed in range(-2, seeds):
            made += 1
            found = place / f"cut-{made}"
            keep = random.Random(1_000 * cut + seed) if seed >= 0 else None
            disk.write_to(found, keep=keep, everything=seed == -1)
            yield found, n
            shutil.rmtree(found)


def test_the_log_of_the_disk_is_whole(scripted: Scripted, tmp_path: Path) -> None:
    """What was recorded, replayed in full, is what lies in the folder: nothing is written past the watch."""
    for shape in SHAPES:
        folder, log, status = scripted.run(shape)
        assert status == 0
        disk = Disk(folder, "store")
        for step in steps(log):
            disk.take(step)
        disk.write_to(tmp_path / shape, everything=True)
        assert _contents(tmp_path / shape) == _contents(folder)


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith("-shm")
    }


@pytest.mark.parametrize("shape", SHAPES)
def test_power_loss_loses_nothing_told(scripted: Scripted, campaign: int, shape: str, tmp_path: Path) -> None:
    """At every flush (at a sample of them in the short run): nothing unflushed survives, all of it, or any part."""
    folder, log, status = scripted.run(shape)
    assert status == 0
    done = steps(log)
    cuts = _cuts(done)
    if campaign == 1:
        cuts = sorted(random.Random(3).sample(cuts, 16))
    checked = 0
    for found, n in _found_after_cuts(folder, done, cuts, 6 if campaign > 1 else 1, tmp_path):
        check(found / "store", shape, n)
        checked += 1
    print(f"{shape}: {checked} folders at {len(cuts)} cuts of {len(done)} steps")


def _after_each_acknowledgement(done: list[Step]) -> list[int]:
    return [i + 1 for i, step in enumerate(done) if step.kind == "!" and step.path.startswith("told")]


def test_a_new_folder_is_on_the_disk_too(scripted: Scripted, tmp_path: Path) -> None:
    """What was told is there also when the store's folder, and those above it, are as new as the store."""
    folder, log, status = scripted.run("flat", store="new/er/store")
    assert status == 0
    done = steps(log)
    for found, n in _found_after_cuts(folder, done, _after_each_acknowledgement(done)[:3], 0, tmp_path):
        check(found / "new/er/store", "flat", n)


def test_the_check_notices_what_was_not_flushed(scripted: Scripted, tmp_path: Path) -> None:
    """With `synchronous=OFF` planted, acknowledged writes are missed."""
    folder, log, status = scripted.run("flat", plant="synchronous off")
    assert status == 0
    done = steps(log)
    assert told(done) == len(operations())
    for found, n in _found_after_cuts(folder, done, _after_each_acknowledgement(done)[-1:], 0, tmp_path):
        with pytest.raises(AssertionError, match="not the state after"):
            check(found / "store", "flat", n)
        break  # the first has nothing that was not flushed
