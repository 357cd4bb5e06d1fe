"""The power fails: unflushed data is gone, there or torn, and every acknowledged operation is there whole."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.crash.conftest import Scripted
from tests.crash.script import SHAPES, operations
from tests.crash.test_crash_points import acknowledged_count, check_store
from tests.crash.watched_disk import Disk, Step, steps

pytestmark = pytest.mark.crash


def _cuts(done: list[Step]) -> list[int]:
    """Return the steps before and after every flush, after every acknowledgement, and the end."""
    cuts = {len(done)}
    for i, step in enumerate(done):
        if step.kind in "S!":
            cuts |= {i, i + 1}
    return sorted(cuts)


def _folders_after_cuts(
    folder: Path, done: list[Step], cuts: list[int], seeds: int, target: Path
) -> Iterator[tuple[Path, int]]:
    """Yield for each cut several folders as the disk could have them, and the acknowledged count."""
    disk, taken, folder_count = Disk(folder, "store"), 0, 0
    for cut in cuts:
        for step in done[taken:cut]:
            disk.take(step)
        taken = cut
        n = acknowledged_count(done[:cut])
        for seed in range(-2, seeds):
            folder_count += 1
            found = target / f"cut-{folder_count}"
            keep = random.Random(1_000 * cut + seed) if seed >= 0 else None
            disk.write_to(found, keep=keep, everything=seed == -1)
            yield found, n
            shutil.rmtree(found)


def test_replayed_disk_log_equals_the_folder(scripted: Scripted, tmp_path: Path) -> None:
    """The watch must not miss a write."""
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
def test_power_loss_loses_no_acknowledged_operation(
    scripted: Scripted, campaign: int, shape: str, tmp_path: Path
) -> None:
    """At every flush, or a sample of them, nothing unflushed survives, all of it, or any part."""
    folder, log, status = scripted.run(shape)
    assert status == 0
    done = steps(log)
    cuts = _cuts(done)
    if campaign == 1:
        cuts = sorted(random.Random(3).sample(cuts, 16))
    checked = 0
    for found, n in _folders_after_cuts(folder, done, cuts, 6 if campaign > 1 else 1, tmp_path):
        check_store(found / "store", shape, n)
        checked += 1
    print(f"{shape}: {checked} folders at {len(cuts)} cuts of {len(done)} steps")


def _after_each_acknowledgement(done: list[Step]) -> list[int]:
    return [i + 1 for i, step in enumerate(done) if step.kind == "!" and step.path.startswith("acknowledged")]


def test_power_loss_keeps_a_store_in_newly_made_folders(scripted: Scripted, tmp_path: Path) -> None:
    """The folders above the store must be flushed, too."""
    folder, log, status = scripted.run("flat", store="new/er/store")
    assert status == 0
    done = steps(log)
    for found, n in _folders_after_cuts(folder, done, _after_each_acknowledgement(done)[:3], 0, tmp_path):
        check_store(found / "new/er/store", "flat", n)


def test_power_loss_check_detects_unflushed_writes(scripted: Scripted, tmp_path: Path) -> None:
    """SQLite runs with `synchronous=OFF`, so acknowledged writes are lost."""
    folder, log, status = scripted.run("flat", fault="synchronous off")
    assert status == 0
    done = steps(log)
    assert acknowledged_count(done) == len(operations())
    for found, n in _folders_after_cuts(folder, done, _after_each_acknowledgement(done)[-1:], 0, tmp_path):
        with pytest.raises(AssertionError, match="not the state after"):
            check_store(found / "store", "flat", n)
        break  # the first has nothing that was not flushed
