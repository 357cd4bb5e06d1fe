"""Matching of a file's parts with those that an earlier import stored."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from super_advanced_agents.tenancy.importing.stored import StoredPart


@dataclass(frozen=True, slots=True)
class PartKey:
    """Hold the fields of a new part that decide which stored part it is.

    Attributes:
        digest: says what it is, without its place.
        fixed_uid: the uid that the file or its format fixes, or None.
    """

    digest: bytes
    fixed_uid: str | None


@dataclass(slots=True)
class Matching:
    """Hold which parts of one file are those that are stored, changed, new or gone.

    Attributes:
        same: for each new part the index of the stored part that it is, unchanged but for its place; None otherwise.
        replaces: for each new part the index of the stored part whose text it changes; None otherwise.
        removed: the indexes of stored parts that were taken out where something else was put in.
        gone: the indexes of the other stored parts that the file does not hold any more.
    """

    same: list[int | None]
    replaces: list[int | None]
    removed: list[int] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)


def match_parts(new: Sequence[PartKey], stored: Sequence[StoredPart], *, edited: bool = True) -> Matching:
    """Match the parts of a file with the stored ones; both are in the order of the file.

    Equal parts are matched wherever they stand, as often as they occur. Between two matched ones, what was taken out is
    taken to be what was put in, in another form.

    Args:
        new: the parts that the file holds now.
        stored: those that an earlier import stored.
        edited: whether the stored ones are of the same file, so that others may have taken their places.
    """
    same: list[int | None] = [None] * len(new)
    replaces: list[int | None] = [None] * len(new)
    taken: dict[int, int] = {}  # index of a stored part -> index of the new one
    by_uid = {part.uid: index for index, part in enumerate(stored)}
    for position, key in enumerate(new):
        index = by_uid.get(key.fixed_uid) if key.fixed_uid else None
        if index is not None and index not in taken:
            taken[index] = position
            (same if stored[index].digest == key.digest else replaces)[position] = index
    by_digest: dict[bytes, deque[int]] = defaultdict(deque)
    for index, part in enumerate(stored):
        if index not in taken:
            by_digest[part.digest].append(index)
    for position, key in enumerate(new):
        if same[position] is None and replaces[position] is None and by_digest.get(key.digest):
            index = by_digest[key.digest].popleft()
            taken[index] = position
            same[position] = index
    matching = Matching(same, replaces)
    if edited:
        _match_changed(new, stored, taken, matching)
    return matching


def _match_changed(
    new: Sequence[PartKey], stored: Sequence[StoredPart], taken: dict[int, int], matching: Matching
) -> None:
    is_free = [
        same is None and replaced is None for same, replaced in zip(matching.same, matching.replaces, strict=True)
    ]
    other_conversation = not taken and len(stored) > 1 and all(part.is_turn for part in stored)
    index = 0
    while index < len(stored):
        if index in taken:
            index += 1
            continue
        end = index
        while end < len(stored) and end not in taken:
            end += 1
        after = taken[index - 1] if index else -1
        before = taken[end] if end < len(stored) else len(new)
        free = [] if other_conversation else _free_run(is_free, after, before)
        for position, old in zip(free, range(index, end), strict=False):
            is_free[position] = False
            if new[position].fixed_uid is None:
                matching.replaces[position] = old
            else:
                matching.removed.append(old)
        (matching.removed if free else matching.gone).extend(range(index + len(free), end))
        index = end


def _free_run(is_free: list[bool], after: int, before: int) -> list[int]:
    # The free new parts right behind position `after`, or else those right in front of position `before`.
    run = []
    position = after + 1
    while position < len(is_free) and is_free[position]:
        run.append(position)
        position += 1
    if run:
        return run
    position = before - 1
    while position >= 0 and is_free[position]:
        run.append(position)
        position -= 1
    return run[::-1]
