"""Division of an import's plan into shards."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest

from super_advanced_agents.errors import ConfigurationError, StoreError
from super_advanced_agents.tenancy.importing.plan import Delete, Order, Plan, Reorder, Step, Store
from super_advanced_agents.tenancy.importing.shards import (
    FIRST,
    LAST,
    Shards,
    reading_shard,
    shard_name,
    write_shards,
)
from super_advanced_agents.types import Memory


def _store(uid: str, session: str | None = None, *, replaces: bool = False) -> Store:
    return Store(Memory(text=f"text of {uid}", uid=uid, session=session), "file", 1, replaces)


def _divided(folder: Path, steps: Iterable[Step], size: int) -> tuple[Shards, list[list[Step]], list[Step], list[Step]]:
    with closing(Plan()) as plan:
        for step in steps:
            plan.append(step)
        shards = write_shards(plan, folder, size)
    parts = [_read(folder / shard_name(number), part.digest) for number, part in enumerate(shards.parts)]
    return shards, parts, _read(folder / FIRST, shards.first.digest), _read(folder / LAST, shards.last.digest)


def _read(path: Path, digest: str) -> list[Step]:
    with reading_shard(path, digest) as plan:
        return list(plan)


def test_shards_have_their_size_and_everything_else_is_done_at_the_end(tmp_path: Path) -> None:
    """In the order of the plan."""
    stores, others = [_store(f"u{n}") for n in range(7)], [Delete("gone"), Reorder("f", "s")]
    shards, parts, first, last = _divided(tmp_path, [*stores[:4], *others, *stores[4:]], 3)
    assert [part.memories for part in shards.parts] == [3, 3, 1]
    assert [step for part in parts for step in part] == stores
    assert (first, last) == ([], others)


def test_session_stays_in_one_shard_unless_it_is_too_long(tmp_path: Path) -> None:
    """Four times the size is the most; the new turns of a divided session are ordered at the end."""
    long = [_store(f"a{n}", "a", replaces=n == 0) for n in range(13)]
    short = [_store(f"b{n}", "b") for n in range(2)]
    _, parts, _, last = _divided(tmp_path, [_store("x"), *short, *long], 2)
    assert [len(part) for part in parts] == [3, 8, 5]
    assert last == [Order([f"a{n}" for n in range(1, 13)])]


def test_interleaved_sessions_are_ordered_at_the_end(tmp_path: Path) -> None:
    """Each by itself."""
    _, _, _, last = _divided(tmp_path, [_store(f"{n}", "ab"[n % 2]) for n in range(6)], 3)
    assert last == [Order(["0", "2", "4"]), Order(["1", "3", "5"])]


def test_memory_that_is_deleted_and_stored_again_is_deleted_before(tmp_path: Path) -> None:
    """Otherwise the last steps would delete what a shard has stored."""
    _, parts, first, last = _divided(tmp_path, [Delete("u"), Delete("v"), _store("u")], 3)
    assert (first, parts, last) == ([Delete("u")], [[_store("u")]], [Delete("v")])


def test_shard_that_is_missing_or_changed_is_refused(tmp_path: Path) -> None:
    """With what is to be done: workers share a folder."""
    shards, _, _, _ = _divided(tmp_path, [_store("u")], 3)
    digest, path = shards.parts[0].digest, tmp_path / shard_name(0)
    path.write_bytes(path.read_bytes().replace(b"text", b"lies"))
    with pytest.raises(StoreError, match="damaged"), reading_shard(path, digest):
        pass
    path.unlink()
    with pytest.raises(ConfigurationError, match="cannot read the shard") as caught, reading_shard(path, digest):
        pass
    assert "SAA_FILES_DIR" in caught.value.hint
