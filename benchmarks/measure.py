"""Measuring: rounds of this project and of its reference, and the median of their ratios.

Machines are shared and clocks vary, so that two figures measured minutes apart have no meaningful ratio. A pair
measured within seconds has one, and the median of several pairs ignores a disturbed one.
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

from benchmarks.locomo import Conversation
from benchmarks.sampled_loop import SampledLoop

T = TypeVar("T")
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Bench:
    """The settings and the data of a run, which every group gets.

    Attributes:
        quick: fewer rounds and less data; the figures mean less.
        folder: an empty folder on a real disk, for stores.
        loop: runs coroutines while it samples the event loop's lag.
        conversations: the data.
        store_folder: the folder of large stores, which later runs use again; None builds them in `folder`.
    """

    quick: bool
    folder: Path
    loop: SampledLoop
    conversations: list[Conversation]
    store_folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        work: the measured work.
        ours: our figure, with its unit.
        reference: the reference's figure and its name.
        ratio: the ratio or difference of the two.
        target: the target.
        reached: whether the target is reached; None where there is no target, or nothing was measured.
        details: the numbers behind the figures, for the JSON.
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
    """Operations per second of both sides, one pair for each round."""

    ours: list[float]
    reference: list[float]

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios: above 1, ours is faster."""
        return median(mine / theirs for mine, theirs in zip(self.ours, self.reference, strict=True))

    def row(self, work: str, against: str, target: float | None = None, *, at_least_per_s: float | None = None) -> Row:
        """Return the row of the table; its target is the ratio, and the rate where one is given."""
        rate, target_text, reached = median(self.ours), "", None
        if target is not None:
            target_text, reached = f">= {target:g}x", self.ratio >= target
        if at_least_per_s is not None:
            target_text = f"{target_text}, >= {at_least_per_s:,.0f}/s"
            reached = bool(reached) and rate >= at_least_per_s
        return Row(
            work,
            f"{rate:,.0f}/s",
            f"{median(self.reference):,.0f}/s {against}",
            f"{self.ratio:.2f}x",
            target_text,
            reached,
            {"ours_per_s": self.ours, "reference_per_s": self.reference, "ratio": self.ratio, "target": target_text},
        )


def row_against_all(
    work: str,
    ours: list[float],
    others: Mapping[str, list[float]],
    target: float | None,
    *,
    at_least_per_s: float | None = None,
) -> Row:
    """Return one row against several references, with the lowest ratio first."""
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
    """Measure two sides in alternation, each first in half of the rounds.

    Both functions return operations per second.
    """
    return Rates(**interleave(rounds, {"ours": ours, "reference": reference}))


def interleave(rounds: int, sides: Mapping[Key, Callable[[], T]]) -> dict[Key, list[T]]:
    """Measure all sides once a round, each round beginning with another side.

    Returns:
        the results of each side, by round.
    """
    names = list(sides)
    results: dict[Key, list[T]] = {name: [] for name in names}
    for i in range(rounds):
        first = i % len(names)
        for name in (*names[first:], *names[:first]):
            results[name].append(sides[name]())
    return results


def rate(count: int, work: Callable[[], object]) -> float:
    """Run `work`, which does `count` operations, and return the operations per second."""
    began = time.perf_counter()
    work()
    return count / (time.perf_counter() - began)


def take_for(seconds: float, items: Iterable[T]) -> Iterator[T]:
    """Yield items until the time is over; at least one."""
    until = time.perf_counter() + seconds
    for item in items:
        yield item
        if time.perf_counter() >= until:
            return


def rate_for(seconds: float, items: Iterable[T], work: Callable[[T], object], *, each: int = 1) -> float:
    """Run `work` for items until the time is over, and return the operations per second.

    Args:
        seconds: the time.
        items: the items.
        work: called with each item.
        each: the number of operations in one item.
    """
    began, count = time.perf_counter(), 0
    for item in take_for(seconds, items):
        work(item)
        count += each
    return count / (time.perf_counter() - began)


async def run_callers(callers: int, items: Iterable[T], work: Callable[[T], Awaitable[object]]) -> None:
    """Run `work` for each item by concurrent callers, each with one item at a time."""
    waiting: Iterator[T] = iter(items)

    async def caller() -> None:
        for item in waiting:
            await work(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(caller())


def percentile(values: list[float], share: float) -> float:
    """Return the value that a share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@contextmanager
def peer_rows(work: str, target: str) -> Iterator[list[Row]]:
    """Collect the rows of one peer, or one row that says that the peer is not installed."""
    rows: list[Row] = []
    try:
        yield rows
    except ImportError as exc:
        rows.append(Row(work, "", f"{exc.name or exc} is not installed", target=target))
