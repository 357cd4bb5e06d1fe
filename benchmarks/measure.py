"""How everything is measured: rounds of ours and of the reference in turn, and the median of their ratios.

Machines are shared and clocks vary, so that two figures measured minutes apart cannot be divided. A pair measured
within seconds can, and the median of several pairs forgets the one that was disturbed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import TypeVar

from benchmarks.lag import SampledLoop
from benchmarks.locomo import Conversation

T = TypeVar("T")
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Bench:
    """What every group is given.

    Attributes:
        quick: fewer rounds and less data; the figures mean less.
        folder: an empty folder on a real disk, for stores.
        loop: runs coroutines while it samples the event loop's lag.
        conversations: the data.
        kept: where large stores are built, and found again by a later run; None builds them in `folder`.
    """

    quick: bool
    folder: Path
    loop: SampledLoop
    conversations: list[Conversation]
    kept: Path | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        work: what was done.
        ours: our figure, with its unit.
        reference: the reference's figure and its name.
        ratio: how the two compare.
        target: what is wanted.
        reached: whether it was; None where there is no target, or nothing was measured.
        details: the numbers behind it, for the JSON.
    """

    work: str
    ours: str
    reference: str = ""
    ratio: str = ""
    target: str = ""
    reached: bool | None = None
    details: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rates:
    """Things done each second by both sides, one pair a round."""

    ours: list[float]
    reference: list[float]

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios: above 1, ours is faster."""
        return median(mine / theirs for mine, theirs in zip(self.ours, self.reference, strict=True))

    def row(self, work: str, against: str, target: float | None = None, *, at_least_per_s: float | None = None) -> Row:
        """The line of the table; reached when the ratio is, and the rate where one is asked for."""
        rate, wanted, reached = median(self.ours), "", None
        if target is not None:
            wanted, reached = f">= {target:g}x", self.ratio >= target
        if at_least_per_s is not None:
            wanted, reached = f"{wanted}, >= {at_least_per_s:,.0f}/s", bool(reached) and rate >= at_least_per_s
        return Row(
            work,
            f"{rate:,.0f}/s",
            f"{median(self.reference):,.0f}/s {against}",
            f"{self.ratio:.2f}x",
            wanted,
            reached,
            {"ours_per_s": self.ours, "reference_per_s": self.reference, "ratio": self.ratio, "target": wanted},
        )


def against_all(
    work: str,
    ours: list[float],
    others: Mapping[str, list[float]],
    target: float | None,
    *,
    at_least_per_s: float | None = None,
) -> Row:
    """One line against several: the ratio is the lowest of all, and that one is named first."""
    pairs = {name: Rates(ours, theirs) for name, theirs in others.items()}
    nearest, *rest = sorted(pairs, key=lambda name: pairs[name].ratio)
    row = pairs[nearest].row(work, nearest, target, at_least_per_s=at_least_per_s)
    return replace(
        row,
        reference="; ".join([row.reference, *(f"{median(others[name]):,.0f}/s {name}" for name in rest)]),
        details={
            **row.details,
            "reference_per_s": dict(others),
            "ratio": {name: pair.ratio for name, pair in pairs.items()},
        },
    )


def alternate(rounds: int, ours: Callable[[], float], reference: Callable[[], float]) -> Rates:
    """Measure both in turn, each first as often as second; both return things done each second."""
    return Rates(**in_turn(rounds, {"ours": ours, "reference": reference}))


def in_turn(rounds: int, sides: Mapping[Key, Callable[[], float]]) -> dict[Key, list[float]]:
    """Measure all sides in turn, every round beginning with another one; returns what each measured, by round."""
    names = list(sides)
    found: dict[Key, list[float]] = {name: [] for name in names}
    for i in range(rounds):
        first = i % len(names)
        for name in (*names[first:], *names[:first]):
            found[name].append(sides[name]())
    return found


def rate(count: int, work: Callable[[], object]) -> float:
    """Do `work`, which does `count` things; returns how many a second."""
    began = time.perf_counter()
    work()
    return count / (time.perf_counter() - began)


def within(seconds: float, items: Iterable[T]) -> Iterator[T]:
    """The items until the time is up; at least one."""
    until = time.perf_counter() + seconds
    for item in items:
        yield item
        if time.perf_counter() >= until:
            return


def rate_within(seconds: float, items: Iterable[T], work: Callable[[T], object], *, each: int = 1) -> float:
    """Do `work` for as many items as there is time for, `each` of which is so many things; returns things a second."""
    began, count = time.perf_counter(), 0
    for item in within(seconds, items):
        work(item)
        count += each
    return count / (time.perf_counter() - began)


async def crowd(callers: int, items: Iterable[T], work: Callable[[T], Awaitable[object]]) -> None:
    """Do `work` for each item; so many callers at once, each waiting for one before it takes the next."""
    waiting: Iterator[T] = iter(items)

    async def caller() -> None:
        for item in waiting:
            await work(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(caller())


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@contextmanager
def peer(work: str, target: str) -> Iterator[list[Row]]:
    """Collect the rows of one peer; a row that says so when it is not installed."""
    rows: list[Row] = []
    try:
        yield rows
    except ImportError as exc:
        rows.append(Row(work, "", f"{exc.name or exc} is not installed", target=target))
