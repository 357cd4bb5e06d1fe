"""Units spent in sliding windows of a minute, counted in this process.

`SharedLimits` counts in the same way in Valkey, for all replicas together.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

WINDOW_S = 60
_MAX_WINDOWS = 50_000
"""The most keys and tenants that are counted; the least recently used are dropped."""


class Charge(NamedTuple):
    """The units to be charged to one window, if they fit its limit.

    Attributes:
        key: names the window.
        limit: units per window.
        amount: the units to charge; 0 only reads what is spent.
    """

    key: str
    limit: int
    amount: int


@dataclass(frozen=True, slots=True)
class Spending:
    """The units of a window that were spent before a charge.

    Attributes:
        previous: the units of the previous window, which expire evenly during this one.
        spent: the units of the current window.
        left_s: seconds until the current window ends.
    """

    previous: int
    spent: int
    left_s: float

    @property
    def counted(self) -> int:
        """The units that count as spent now."""
        return self.spent + math.floor(self.previous * self.left_s / WINDOW_S)


class ChargeResult(NamedTuple):
    """The outcome of a charge to several windows.

    Attributes:
        charged: False if one window had too few units left; none was charged then.
        spendings: one for each charge, in order.
    """

    charged: bool
    spendings: list[Spending]


@dataclass(slots=True)
class _Window:
    number: int
    spent: int = 0
    previous: int = 0


class LocalWindows:
    """Count units in memory, in constant time per charge.

    A key's counts are dropped once it has not been used for two windows.

    Args:
        clock: returns monotonic time in seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._windows: OrderedDict[str, _Window] = OrderedDict()  # the most recently used is last

    def __len__(self) -> int:
        return len(self._windows)

    def charge(self, charges: Sequence[Charge], *, settle: bool = False) -> ChargeResult:
        """Charge units to several windows, to all or to none.

        Args:
            charges: the windows and the units.
            settle: charge to each window what it has left at most, and refuse nothing.
        """
        now = self._clock()
        number = int(now // WINDOW_S)
        left_s = WINDOW_S - (now - number * WINDOW_S)
        windows = [self._window(charge.key, number) for charge in charges]
        spendings = [Spending(window.previous, window.spent, left_s) for window in windows]
        left = [max(0, charge.limit - before.counted) for charge, before in zip(charges, spendings, strict=True)]
        charged = settle or all(charge.amount <= units for charge, units in zip(charges, left, strict=True))
        if charged:
            for window, charge, units in zip(windows, charges, left, strict=True):
                window.spent += min(charge.amount, units)
        return ChargeResult(charged, spendings)

    def _window(self, key: str, number: int) -> _Window:
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = _Window(number)
            self._drop_old(number)
        elif window.number != number:
            window.previous = window.spent if window.number == number - 1 else 0
            window.spent, window.number = 0, number
        self._windows.move_to_end(key)
        return window

    def _drop_old(self, number: int) -> None:
        while len(self._windows) > _MAX_WINDOWS or next(iter(self._windows.values())).number < number - 1:
            self._windows.popitem(last=False)
